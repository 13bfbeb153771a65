"""Options, stage spec and checkpoint of the lip syncer ``lnet``.

This module is imported whenever stages are listed, so it must not import torch.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import DigitalSourceType, StageKind
from retalkit.weights.checkpoint import Checkpoint

from retalkit_renderers.releases import released

NETWORK: Final = "lnet"


class LNetConfig(StageConfig):
    """Options of the lip syncer ``lnet``."""

    gate: bool = True
    """Whether to replace the input audio with silence wherever no speech is detected, so that noise does not move the
    mouth. The published pipeline has no such gate.
    """
    chin: float = Field(default=0.08, ge=0.0, le=0.5)
    """Downward extension of the face box as a fraction of the box height. The default equals the published extension of
    20 pixels for a box height of 250 pixels.
    """
    batch: int = Field(default=4, ge=1, le=64)
    """Maximum number of faces per network call on a GPU. Each face requires about 0.1 GB of GPU memory. On the CPU,
    each call processes one face, because larger batches are not faster.
    """


STAGES: Final = (
    StageSpec(
        api=2,
        kind=StageKind.LIP_SYNCER,
        name=NETWORK,
        summary="L-Net from VideoReTalking: generates the lower half of the face at 96 x 96 from speech",
        version="2",
        build="retalkit_renderers.lnet.syncer:LNetLipSyncer",
        licence="Apache-2.0",
        config=LNetConfig,
        needs=frozenset({"frames", "reference:image", "speech:mel", "speech:activity"}),
        gives=frozenset({"face:edit"}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(NETWORK,),
        digital_source_type=DigitalSourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA,
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="L-Net from VideoReTalking: generates the lower half of a 96 x 96 face from speech",
        file="LNet.pth",
        urls=released("LNet.pth"),
        licence="Apache-2.0",
        commercial_use=None,
        shapes="retalkit_renderers.lnet.network:parameter_shapes",
        min_size=511_304_340,
        # Hash of the copy that one of the paper's authors published on Hugging Face (vinthony/videoretalking).
        sha256="7ae06fef0454c421b828cc53e8d4b9c92d990867a858ea7bb9661ab6cf6ab774",
        entries=("state_dict",),
        strip_from_names="module.",
        ignore_names=("low_res",),
    ),
)
