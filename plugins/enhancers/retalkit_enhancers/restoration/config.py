"""Options and spec of restoration enhancers. The module is imported to list stages, so it must not import torch."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import StageKind

PARSING_NETWORK: Final = "parsenet"


class RestorationConfig(StageConfig):
    """Options of enhancers that restore faces with a network."""

    on: Literal["face", "mouth"] = "face"
    """Region to restore: the whole face, or only the mouth. The mouth is located by face parsing and blended over a
    Laplacian pyramid.
    """
    strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """Strength of the restoration, from 0 (no change) to 1 (fully restored pixels)."""
    steadiness: float = Field(default=0.75, ge=0.0, le=1.0)
    """Fraction of the restored face's coarse colours and shading that is replaced with the unrestored face's values.

    A network that restores each frame independently changes tint and brightness from frame to frame, which causes
    flicker. A value of 1 keeps only the fine detail of the restoration, and 0 matches the published pipeline. The
    default was determined with simulated restorers (docs/paper.md).
    """
    mask: Literal["template", "parsing"] = "template"
    """Mask of the restored face: ``template``, a soft oval, or ``parsing``, the skin, brows, eyes, nose and mouth
    regions from face parsing. ``on: mouth`` always uses face parsing.
    """
    batch: int = Field(default=1, ge=1, le=64)
    """Number of faces per network call on a GPU. On the CPU, each call processes one face, because larger batches are
    not faster there.
    """

    @property
    def parses(self) -> bool:
        """Whether the face-parsing network is required."""
        return self.strength > 0 and (self.on == "mouth" or self.mask == "parsing")

    def checkpoints(self) -> tuple[str, ...]:
        """Return the face-parsing checkpoint if the options require it."""
        return (PARSING_NETWORK,) if self.parses else ()


def restoration_spec(name: str, title: str, build: str, licence: str) -> StageSpec:
    """Return the spec of a ``RestorationEnhancer`` that loads the checkpoint called ``name``."""
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
