"""The enhancer ``enet`` and its checkpoint. Light: read when stages are listed."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint

from retalkit_enhancers.releases import released

NETWORK: Final = "enet"
EMOTION_NETWORK: Final = "ganimation"


class EnetConfig(StageConfig):
    """Options of ``enet``."""

    on: Literal["face"] = "face"
    """Where it works: it draws the whole face anew."""
    upper_face: Literal["original", "sad", "angry", "surprise"] = "original"
    """``original`` keeps the expression of brows and eyes; another one changes the upper half of the face with
    GANimation."""
    keep_upper: bool = False
    """The upper half of the face comes from the original frame, not from the network."""
    batch: int = Field(default=1, ge=1, le=64)
    """Frames with the same reference that go through the network together on a graphics card, about 0.2 GB each. A
    processor takes them one by one, which is no slower."""

    def checkpoints(self) -> tuple[str, ...]:
        """GANimation's, where the expression is changed."""
        return () if self.upper_face == "original" else (EMOTION_NETWORK,)


STAGES: Final = (
    StageSpec(
        api=2,
        kind=StageKind.ENHANCER,
        name="enet",
        summary="E-Net of VideoReTalking: draws the face at 384 x 384 around the lip syncer's mouth",
        version="2",
        build="retalkit_enhancers.enet.enhancer:EnetEnhancer",
        licence="Apache-2.0",
        config=EnetConfig,
        needs=frozenset({"frames", "reference:image", "face:edit"}),
        gives=frozenset({"face:edit"}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(NETWORK,),
        optional_checkpoints=(EMOTION_NETWORK,),
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="E-Net of VideoReTalking, from a mouth of 96 x 96 to a face of 384 x 384",
        file="ENet.pth",
        urls=released("ENet.pth"),
        licence="Apache-2.0",
        commercial_use=None,
        shapes="retalkit_enhancers.enet.network:parameter_shapes",
        min_size=636_094_664,  # with the L-Net beside it
        # As an author of the paper published it a second time, at Hugging Face (vinthony/videoretalking).
        sha256="967ee3ed857619cedd92b6407dc8a124cbfe763cc11cad58316fe21271a8928f",
        entries=("state_dict",),
        strip_from_names="module.",
        # The L-Net that it was trained with; the published loader takes L-Net from its own file, too.
        ignore_names=("low_res",),
    ),
)
