"""The reconstructor ``deep3d`` and its checkpoints. Light: nothing here imports an array library."""

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
        summary="257 face model coefficients by ResNet-50, the reconstruction of the published pipeline",
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
        summary="Deep3DFaceRecon, ResNet-50 from an aligned face to 257 coefficients",
        file="face3d_pretrain_epoch_20.pth",
        urls=(
            "https://github.com/vinthony/video-retalking/releases/download/v0.0.1/face3d_pretrain_epoch_20.pth",
            "https://github.com/OpenTalker/video-retalking/releases/download/v0.0.1/face3d_pretrain_epoch_20.pth",
        ),
        licence="Apache-2.0 by its repository; the Basel Face Model that it describes has a licence of its own",
        commercial_use=None,
        shapes="retalkit_reconstructors.deep3d.network:parameter_shapes",
        # Its publishers give no hash. This one is that of the copies at Hugging Face (under this name, and as
        # epoch_20.pth of Deep3DFaceRecon_pytorch, also from an author of the paper).
        size=288_860_037,
        sha256="6d17a6b23457b521801baae583cb6a58f7238fe6721fc3d65d76407460e9149b",
        # Beside this entry a file of the training has the states of its optimisers (opt_00) and schedules (sched_00).
        entries=("net_recon",),
    ),
    Checkpoint(
        name=LANDMARKS,
        summary="68 standard landmarks in 3D that faces are aligned to",
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
