"""The enhancer ``spandrel``. Imports no torch: read when stages are listed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import Field, field_validator

from retalkit_enhancers.restoration.config import RestorationConfig, restoration_spec

NAME: Final = "spandrel"
_SUFFIXES: Final = (".pth", ".pt", ".ckpt", ".safetensors")


class SpandrelConfig(RestorationConfig):
    """Options of ``spandrel``: those of every restoration enhancer, and the file."""

    weights: Path
    """The checkpoint: a GFPGAN, RestoreFormer or CodeFormer file (.pth, .pt, .ckpt or .safetensors). The licence of the
    file applies."""
    fidelity: float | None = Field(default=None, ge=0.0, le=1.0)
    """CodeFormer only: 0 generates the most detail, 1 stays closest to the unrestored face; default 0.5."""

    @field_validator("weights")
    @classmethod
    def _known_kind(cls, weights: Path) -> Path:
        if weights.suffix.lower() not in _SUFFIXES:
            raise ValueError("must be a .pth, .pt, .ckpt or .safetensors file")
        return weights


STAGES: Final = (
    replace(
        restoration_spec(
            NAME,
            "GFPGAN, RestoreFormer or CodeFormer from your own file, with the package spandrel",
            "retalkit_enhancers.spandrel_enhancer.enhancer:SpandrelEnhancer",
            "MIT and the licence of the checkpoint",
        ),
        config=SpandrelConfig,
        requires=("torch", "torchvision", "spandrel"),
        install="retalkit[spandrel]",
        checkpoints=(),
    ),
)
