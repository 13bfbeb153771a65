"""The lip syncer ``lnet`` and its checkpoint. Light: read when stages are listed."""

from __future__ import annotations

from typing import Final

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint

from retalkit_renderers.releases import released

NETWORK: Final = "lnet"


class LNetConfig(StageConfig):
    """Options of ``lnet``."""

    gate: bool = True
    """Where nobody speaks the network hears silence, so that noise moves no mouth. The published pipeline lets it hear
    everything."""
    chin: float = Field(default=0.08, ge=0.0, le=0.5)
    """How far the face's box is lengthened below, in heights of the box: 20 pixels, as published, for a box of 250."""
    batch: int = Field(default=4, ge=1, le=64)
    """Frames that go through the network together on a graphics card, about 0.1 GB each. A processor takes them one by
    one, which is no slower."""


STAGES: Final = (
    StageSpec(
        api=2,
        kind=StageKind.LIP_SYNCER,
        name=NETWORK,
        summary="L-Net of VideoReTalking: draws the lower face at 96 x 96 from speech",
        build="retalkit_renderers.lnet.syncer:LNetLipSyncer",
        licence="Apache-2.0",
        config=LNetConfig,
        needs=frozenset({"frames", "reference:image", "speech:mel", "speech:activity"}),
        gives=frozenset({"face:edit"}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(NETWORK,),
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="L-Net of VideoReTalking, from speech and a face to its mouth at 96 x 96",
        file="LNet.pth",
        urls=released("LNet.pth"),
        licence="Apache-2.0",
        commercial_use=None,
        shapes="retalkit_renderers.lnet.network:parameter_shapes",
        min_size=511_304_340,
        # As an author of the paper published it a second time, at Hugging Face (vinthony/videoretalking).
        sha256="7ae06fef0454c421b828cc53e8d4b9c92d990867a858ea7bb9661ab6cf6ab774",
        entries=("state_dict",),
        strip_from_names="module.",
        ignore_names=("low_res",),
    ),
)
