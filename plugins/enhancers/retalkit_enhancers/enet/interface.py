"""Options, spec and checkpoint of the ``enet`` enhancer.

This module is imported whenever stages are listed, so it must not import torch.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import DigitalSourceType, StageKind
from retalkit.weights.checkpoint import Checkpoint

from retalkit_enhancers.releases import released

NETWORK: Final = "enet"
EMOTION_NETWORK: Final = "ganimation"


class EnetConfig(StageConfig):
    """Options of the enhancer ``enet``."""

    on: Literal["face"] = "face"
    """Region to enhance. E-Net always generates the whole face, so ``face`` is the only accepted value."""
    upper_face: Literal["original", "sad", "angry", "surprise"] = "original"
    """Expression of the upper half of the face. ``original`` keeps the expression, and any other value selects an
    emotion that GANimation generates.
    """
    keep_upper: bool = False
    """Whether to keep the upper half of the face from the original frame instead of the generated upper half."""
    batch: int = Field(default=1, ge=1, le=64)
    """Maximum number of faces per network call on a GPU. All faces in a call share one reference. Each face requires
    about 0.2 GB of GPU memory. On the CPU, each call processes one face, because larger batches are not faster.
    """

    def checkpoints(self) -> tuple[str, ...]:
        """Return the GANimation checkpoint's name if an emotion is selected."""
        return () if self.upper_face == "original" else (EMOTION_NETWORK,)


STAGES: Final = (
    StageSpec(
        api=2,
        kind=StageKind.ENHANCER,
        name="enet",
        summary="E-Net from VideoReTalking: generates a 384 x 384 face around the lip syncer's mouth",
        version="3",
        build="retalkit_enhancers.enet.enhancer:EnetEnhancer",
        licence="Apache-2.0",
        config=EnetConfig,
        needs=frozenset({"frames", "reference:image", "face:edit"}),
        gives=frozenset({"face:edit"}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(NETWORK,),
        optional_checkpoints=(EMOTION_NETWORK,),
        digital_source_type=DigitalSourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA,
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="E-Net from VideoReTalking: generates a 384 x 384 face from a 96 x 96 face",
        file="ENet.pth",
        urls=released("ENet.pth"),
        licence="Apache-2.0",
        commercial_use=None,
        shapes="retalkit_enhancers.enet.network:parameter_shapes",
        min_size=636_094_664,  # The checkpoint includes L-Net.
        # Hash of the copy that an author of the paper published on Hugging Face (vinthony/videoretalking).
        sha256="967ee3ed857619cedd92b6407dc8a124cbfe763cc11cad58316fe21271a8928f",
        entries=("state_dict",),
        strip_from_names="module.",
        # Entry of the L-Net that was used to train E-Net. The published loader also loads a separate L-Net checkpoint.
        ignore_names=("low_res",),
    ),
)
