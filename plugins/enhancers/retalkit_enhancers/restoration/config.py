"""Options and spec of restoration enhancers.

This module is imported whenever stages are listed, so it must not import torch.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import DigitalSourceType, StageKind

PARSING_NETWORK: Final = "parsenet"


class RestorationConfig(StageConfig):
    """Options of the enhancers that restore faces with a network."""

    on: Literal["face", "mouth"] = "face"
    """Region to restore. ``face`` selects the whole face. ``mouth`` selects the mouth, which is located by face parsing
    and blended with a Laplacian pyramid.
    """
    strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """Restoration strength, from 0 (no change) to 1 (fully restored pixels)."""
    steadiness: float = Field(default=0.75, ge=0.0, le=1.0)
    """Fraction of the restored face's coarse colours and shading that is replaced by the unrestored face's values, in
    [0, 1].

    A network that restores each frame independently changes tint and brightness between frames, which causes flicker. A
    value of 1 keeps only the restored fine detail, and a value of 0 reproduces the published pipeline. The default was
    determined with simulated restorers (docs/paper.md).
    """
    mask: Literal["template", "parsing"] = "template"
    """Blend mask of the restored face. ``template`` selects a soft oval, and ``parsing`` selects the skin, brow, eye,
    nose and mouth regions from face parsing. The option ``on: mouth`` always uses face parsing.
    """
    batch: int = Field(default=1, ge=1, le=64)
    """Maximum number of faces per network call on a GPU. On the CPU, each call processes one face, because larger
    batches are not faster.
    """

    @property
    def parses(self) -> bool:
        """Whether the options require the face-parsing network."""
        return self.strength > 0 and (self.on == "mouth" or self.mask == "parsing")

    def checkpoints(self) -> tuple[str, ...]:
        """Return the face-parsing checkpoint's name if the options require face parsing."""
        return (PARSING_NETWORK,) if self.parses else ()


def restoration_spec(name: str, title: str, build: str, licence: str) -> StageSpec:
    """Return the spec of a ``RestorationEnhancer`` that loads the checkpoint ``name``."""
    return StageSpec(
        kind=StageKind.ENHANCER,
        name=name,
        summary=f"{title}: restores the edited face, its mouth or the reference images at 512 x 512 pixels",
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
        digital_source_type=DigitalSourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA,
    )
