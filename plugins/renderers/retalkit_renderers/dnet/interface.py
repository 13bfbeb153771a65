"""Options, stage spec and checkpoints of the expression editor ``dnet``.

This module is imported whenever stages are listed, so it must not import torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint

from retalkit_renderers.releases import released

NETWORK: Final = "dnet"
TEMPLATES: Final = "expression_templates"
FIT: Final = ("face3d", "bfm_landmarks")
"""Reconstructor checkpoints that are required to estimate the expression in a still image."""

IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
COEFFICIENT_SUFFIXES: Final = (".npy", ".npz", ".safetensors", ".mat")


class DNetConfig(StageConfig):
    """Options of the expression editor ``dnet``."""

    template: Literal["neutral", "smile"] | Path = "neutral"
    """Expression that is applied to every frame. Accepted values are ``neutral``, ``smile``, the path of a still image
    that shows a face with this expression, and the path of a file with the 64 expression coefficients (.npy, .npz,
    .safetensors or .mat).
    """
    one_shot: bool = False
    """Whether to generate every frame from the first frame of its shot instead of from the frame itself. Using the
    first frame makes the mouth temporally more stable, but less sharp in frames with a different head pose.
    """
    batch: int = Field(default=1, ge=1, le=64)
    """Maximum number of faces per network call on a GPU. Each face requires about 0.1 GB of GPU memory. On the CPU,
    each call processes one face, because larger batches are not faster.
    """

    @field_validator("template")
    @classmethod
    def _known_kind(cls, template: str | Path) -> str | Path:
        if isinstance(template, Path) and template.suffix.lower() not in (*IMAGE_SUFFIXES, *COEFFICIENT_SUFFIXES):
            raise ValueError(
                "must be 'neutral', 'smile', or the path of an image, .npy, .npz, .safetensors or .mat file"
            )
        return template

    def checkpoints(self) -> tuple[str, ...]:
        """Return the template checkpoint, or the checkpoints that are required to estimate the expression in a still
        image.
        """
        if not isinstance(self.template, Path):
            return (TEMPLATES,)
        return FIT if self.template.suffix.lower() in IMAGE_SUFFIXES else ()


STAGES: Final = (
    StageSpec(
        api=2,
        kind=StageKind.EXPRESSION_EDITOR,
        name=NETWORK,
        summary="D-Net from VideoReTalking: generates every frame's face with one constant expression",
        version="3",
        build="retalkit_renderers.dnet.editor:DNetEditor",
        licence="Apache-2.0",
        config=DNetConfig,
        needs=frozenset({"frames", "landmarks:ibug68", "coefficients:bfm257"}),
        gives=frozenset({"reference:landmarks", "reference:image"}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(NETWORK,),
        optional_checkpoints=(TEMPLATES, *FIT),
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="D-Net from VideoReTalking: edits the expression of a 256 x 256 face",
        file="DNet.pt",
        urls=released("DNet.pt"),
        licence="Apache-2.0",
        # The repository's licence is Apache-2.0. The network originates from PIRenderer, which has no published
        # licence.
        commercial_use=None,
        shapes="retalkit_renderers.dnet.network:parameter_shapes",
        min_size=90_076_436,
        # Exponential moving average of the training weights. The entry contains exactly 304 names without a wrapper and
        # without buffers. The other entries (net_G, opt_G, sch_G, current_epoch, current_iteration) are not loaded.
        entries=("net_G_ema",),
    ),
    Checkpoint(
        name=TEMPLATES,
        summary="face model coefficients of a neutral and a smiling face",
        file="expression.mat",
        urls=released("expression.mat"),
        licence="Apache-2.0",
        commercial_use=None,
        shapes="retalkit_renderers.dnet.templates:published_shapes",
        size=1456,
        sha256="93e9d69eb46e866ed5cbb569ed2bdb3813254720fb0cb745d5b56181faf9aec5",
        reader="retalkit_renderers.dnet.templates:read_published",
    ),
)
