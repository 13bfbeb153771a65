"""The enhancer ``gpen`` and its checkpoint. Light: read when stages are listed."""

from __future__ import annotations

from typing import Final

from retalkit.plugins import StageSpec
from retalkit.stages import StageKind
from retalkit.weights.declarations import Checkpoint

from retalkit_enhancers.restoration.config import PARSING_NETWORK, RestorationConfig

NETWORK: Final = "gpen"

STAGES: Final = (
    StageSpec(
        kind=StageKind.ENHANCER,
        name="gpen",
        summary="GPEN: restores the edited face, its mouth or the reference images at 512 x 512",
        build="retalkit_enhancers.gpen.enhancer:GpenEnhancer",
        licence="academic and non-commercial use only (weights)",
        config=RestorationConfig,
        needs=frozenset({"frames", "face:edit"}),
        gives=frozenset({"face:edit"}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(NETWORK,),
        optional_checkpoints=(PARSING_NETWORK,),
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="GPEN-BFR-512, restores a damaged face of 512 x 512",
        file="GPEN-BFR-512.pth",
        urls=(
            "https://github.com/vinthony/video-retalking/releases/download/v0.0.1/GPEN-BFR-512.pth",
            "https://github.com/OpenTalker/video-retalking/releases/download/v0.0.1/GPEN-BFR-512.pth",
            "https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models/GPEN-BFR-512.pth",
        ),
        # From the readme of the publisher's repository, yangxy/GPEN.
        licence="academic and non-commercial use only (Alibaba, 2021)",
        commercial_use=False,
        shapes="retalkit_enhancers.gpen.network:parameter_shapes",
        size=284_085_738,
        sha256="f1002c41add95b0decad69604d80455576f7187dd99ca16bd611bcfd44c10b51",
    ),
)
