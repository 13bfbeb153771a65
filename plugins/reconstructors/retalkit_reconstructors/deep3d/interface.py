"""Stage spec and checkpoints of the reconstructor ``deep3d``.

This module is imported whenever stages are listed, so it must not import an array library.
"""

from __future__ import annotations

from typing import Final

from retalkit.plugins import StageSpec
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint

NETWORK: Final = "face3d"
LANDMARKS: Final = "bfm_landmarks"

STAGES: Final = (
    StageSpec(
        api=2,
        kind=StageKind.RECONSTRUCTOR,
        name="deep3d",
        version="2",
        summary="257 face model coefficients from a ResNet-50, as in the published pipeline",
        build="retalkit_reconstructors.deep3d.reconstructor:Deep3DReconstructor",
        licence="Apache-2.0 AND MIT",
        needs=frozenset({"frames", "landmarks:ibug68"}),
        gives=frozenset({"coefficients:bfm257"}),
        requires=("torch", "scipy", "cv2"),
        install="retalkit[paper]",
        checkpoints=(NETWORK, LANDMARKS),
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="Deep3DFaceRecon: ResNet-50 that estimates 257 face model coefficients from an aligned face",
        file="face3d_pretrain_epoch_20.pth",
        urls=(
            "https://github.com/vinthony/video-retalking/releases/download/v0.0.1/face3d_pretrain_epoch_20.pth",
            "https://github.com/OpenTalker/video-retalking/releases/download/v0.0.1/face3d_pretrain_epoch_20.pth",
        ),
        licence="Apache-2.0 (repository licence); the Basel Face Model has a separate licence",
        commercial_use=None,
        shapes="retalkit_reconstructors.deep3d.network:parameter_shapes",
        # The authors did not publish a hash. This hash belongs to the copies on Hugging Face. One copy has this file
        # name. A second copy is epoch_20.pth of Deep3DFaceRecon_pytorch, which one of the paper's authors also
        # published.
        size=288_860_037,
        sha256="6d17a6b23457b521801baae583cb6a58f7238fe6721fc3d65d76407460e9149b",
        # The training checkpoint also contains optimiser states (opt_00) and scheduler states (sched_00).
        entries=("net_recon",),
    ),
    Checkpoint(
        name=LANDMARKS,
        summary="68 standard 3D landmarks, which define the face alignment",
        file="similarity_Lm3D_all.mat",
        urls=(
            "https://github.com/microsoft/Deep3DFaceReconstruction/raw/master/BFM/similarity_Lm3D_all.mat",
            "https://github.com/vinthony/video-retalking/releases/download/v0.0.1/BFM.zip#similarity_Lm3D_all.mat",
        ),
        licence="MIT",
        commercial_use=True,
        shapes="retalkit_reconstructors.deep3d.standard_landmarks:array_shapes",
        size=994,
        sha256="53b83ce6e35c50ddc3e97603650cef4970320c157e75c241c844f29c1dcba65a",
        reader="retalkit_reconstructors.deep3d.standard_landmarks:read_published",
    ),
)
