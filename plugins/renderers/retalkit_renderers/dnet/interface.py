"""The expression editor ``dnet`` and its checkpoints. Light: read when stages are listed."""

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
"""Checkpoints of the reconstructor that reads the expression off a picture."""

PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
FILES: Final = (".npy", ".npz", ".safetensors", ".mat")


class DNetConfig(StageConfig):
    """Options of ``dnet``."""

    template: Literal["neutral", "smile"] | Path = "neutral"
    """The expression that every frame gets: ``neutral``, ``smile``, a picture of a face that wears it, or a file with
    its 64 coefficients (npy, npz, safetensors or mat)."""
    one_shot: bool = False
    """Every frame is drawn from the first one of its shot instead of from itself: a steadier mouth, less sharp where
    the head moves away from there."""
    batch: int = Field(default=1, ge=1, le=64)
    """Frames that go through the network together on a graphics card, about 0.1 GB each. A processor takes them one by
    one, which is no slower."""

    @field_validator("template")
    @classmethod
    def _known_kind(cls, template: str | Path) -> str | Path:
        if isinstance(template, Path) and template.suffix.lower() not in (*PICTURES, *FILES):
            raise ValueError("must be neutral, smile, a picture, or a .npy, .npz, .safetensors or .mat file")
        return template

    def checkpoints(self) -> tuple[str, ...]:
        """The templates of the paper, or the network that reads an expression off a picture."""
        if not isinstance(self.template, Path):
            return (TEMPLATES,)
        return FIT if self.template.suffix.lower() in PICTURES else ()


STAGES: Final = (
    StageSpec(
        api=2,
        kind=StageKind.EXPRESSION_EDITOR,
        name=NETWORK,
        summary="D-Net of VideoReTalking: every frame's face, drawn anew with one expression",
        version="2",
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
        summary="D-Net of VideoReTalking, a face with another expression at 256 x 256",
        file="DNet.pt",
        urls=released("DNet.pt"),
        licence="Apache-2.0",
        # Apache-2.0 by the repository; PIRenderer, whose network it is, was published without a licence.
        commercial_use=None,
        shapes="retalkit_renderers.dnet.network:parameter_shapes",
        min_size=90_076_436,
        # The mean of the weights over the training. Nothing lies beside its 304 names: the training made it as a plain
        # copy of the network, without a wrapper and without buffers. Other entries of the file (net_G, opt_G, sch_G,
        # current_epoch, current_iteration) are not read.
        entries=("net_G_ema",),
    ),
    Checkpoint(
        name=TEMPLATES,
        summary="Coefficients of a neutral and of a smiling face",
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
