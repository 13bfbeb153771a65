"""What all restoration enhancers share in their specs: options, needs, packages. Light: read when stages are listed."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import StageKind

PARSING_NETWORK: Final = "parsenet"


class RestorationConfig(StageConfig):
    """Options of every enhancer that restores faces with a network."""

    on: Literal["face", "mouth"] = "face"
    """What is restored: the whole face, or the mouth alone (found by face parsing and blended over a Laplacian
    pyramid)."""
    strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """1 shows the restored pixels, 0 changes nothing, between them a mixture."""
    steadiness: float = Field(default=0.75, ge=0.0, le=1.0)
    """Share of the restored face's coarse colours and shading that is taken back from the unrestored face. A network
    that sees single frames gives each another tint and light, which flickers; 1 keeps its fine detail alone, 0 is as
    published. The default was chosen by measurement, though with stand-ins for the networks (docs/paper.md)."""
    mask: Literal["template", "parsing"] = "template"
    """How a restored face is let into the frame: ``template``, a soft oval, or ``parsing``, the skin, brows, eyes, nose
    and mouth that face parsing finds. ``on: mouth`` always parses."""
    batch: int = Field(default=1, ge=1, le=64)
    """Faces that go through the network together on a graphics card; a processor takes them one by one, which is no
    slower."""

    @property
    def parses(self) -> bool:
        """Whether the face-parsing network is needed."""
        return self.strength > 0 and (self.on == "mouth" or self.mask == "parsing")

    def checkpoints(self) -> tuple[str, ...]:
        """The face-parsing network's, where it is needed."""
        return (PARSING_NETWORK,) if self.parses else ()


def restoration_spec(name: str, title: str, build: str, licence: str) -> StageSpec:
    """The spec of an enhancer that is a ``RestorationEnhancer`` and loads the checkpoint of its own name."""
    return StageSpec(
        kind=StageKind.ENHANCER,
        name=name,
        summary=f"{title}: restores the edited face, its mouth or the reference images at 512 x 512",
        version="4",
        api=2,
        build=build,
        licence=licence,
        config=RestorationConfig,
        needs=frozenset({"frames", "face:edit"}),
        gives=frozenset({"face:edit", "reference:image"}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(name,),
        optional_checkpoints=(PARSING_NETWORK,),
    )
