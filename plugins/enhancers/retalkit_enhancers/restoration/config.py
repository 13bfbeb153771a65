"""Options and spec of restoration enhancers. Imports no torch: read when stages are listed."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import StageKind

PARSING_NETWORK: Final = "parsenet"


class RestorationConfig(StageConfig):
    """Options of enhancers that restore faces with a network."""

    on: Literal["face", "mouth"] = "face"
    """What is restored: the whole face, or the mouth alone (found by face parsing and blended over a Laplacian
    pyramid)."""
    strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """Strength of the restoration: 1 shows the restored pixels, 0 changes nothing."""
    steadiness: float = Field(default=0.75, ge=0.0, le=1.0)
    """Share of the restored face's coarse colours and shading that is replaced with the unrestored face's. A network
    that restores single frames gives each a different tint and brightness, which flickers. 1 keeps only the fine detail
    of the restoration, 0 is as published. The default was measured, with stand-ins for the networks (docs/paper.md)."""
    mask: Literal["template", "parsing"] = "template"
    """Mask of the restored face: ``template``, a soft oval, or ``parsing``, the skin, brows, eyes, nose and mouth that
    face parsing finds. ``on: mouth`` always parses."""
    batch: int = Field(default=1, ge=1, le=64)
    """Faces per call of the network on a GPU. On the CPU each call has one face, which is as fast."""

    @property
    def parses(self) -> bool:
        """Whether the face-parsing network is needed."""
        return self.strength > 0 and (self.on == "mouth" or self.mask == "parsing")

    def checkpoints(self) -> tuple[str, ...]:
        """Return the checkpoint of face parsing, if it is needed."""
        return (PARSING_NETWORK,) if self.parses else ()


def restoration_spec(name: str, title: str, build: str, licence: str) -> StageSpec:
    """Return the spec of a ``RestorationEnhancer`` that loads the checkpoint of the same name."""
    return StageSpec(
        kind=StageKind.ENHANCER,
        name=name,
        summary=f"{title}: restores the edited face, its mouth or the reference images at 512 x 512",
        version="5",
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
