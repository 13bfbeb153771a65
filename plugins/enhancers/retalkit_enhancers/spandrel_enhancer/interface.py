"""Options and spec of the ``spandrel`` enhancer.

This module is imported whenever stages are listed, so it must not import torch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import Field, field_validator

from retalkit_enhancers.restoration.config import RestorationConfig, restoration_spec

NAME: Final = "spandrel"
_SUFFIXES: Final = (".pth", ".pt", ".ckpt", ".safetensors")


class SpandrelConfig(RestorationConfig):
    """Restoration options and checkpoint options of the ``spandrel`` enhancer."""

    weights: Path
    """Path of a GFPGAN, RestoreFormer or CodeFormer checkpoint (.pth, .pt, .ckpt or .safetensors). The checkpoint's own
    licence applies.
    """
    fidelity: float | None = Field(default=None, ge=0.0, le=1.0)
    """CodeFormer's fidelity, from 0 (most generated detail) to 1 (closest to the unrestored face). The default is 0.5.
    Setting the option for any other network is an error.
    """

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
            "GFPGAN, RestoreFormer or CodeFormer from a user-provided checkpoint, loaded by the package spandrel",
            "retalkit_enhancers.spandrel_enhancer.enhancer:SpandrelEnhancer",
            "MIT; the checkpoint's own licence applies",
        ),
        config=SpandrelConfig,
        requires=("torch", "torchvision", "spandrel"),
        install="retalkit[spandrel]",
        checkpoints=(),
    ),
)
