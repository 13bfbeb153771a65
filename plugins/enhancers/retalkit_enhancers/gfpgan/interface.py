"""The enhancer ``gfpgan`` and its checkpoint. Light: read when stages are listed."""

from __future__ import annotations

from typing import Final

from retalkit.plugins import StageSpec
from retalkit.stages import StageKind
from retalkit.weights.declarations import Checkpoint

from retalkit_enhancers.restoration.config import PARSING_NETWORK, RestorationConfig

NETWORK: Final = "gfpgan"

STAGES: Final = (
    StageSpec(
        kind=StageKind.ENHANCER,
        name="gfpgan",
        summary="GFPGAN: restores the edited face, its mouth or the reference images at 512 x 512",
        build="retalkit_enhancers.gfpgan.enhancer:GfpganEnhancer",
        licence="Apache-2.0",
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
        summary="GFPGAN v1.3, restores a damaged face of 512 x 512",
        file="GFPGANv1.3.pth",
        urls=(
            "https://github.com/TencentARC/GFPGAN/releases/download/v1.3.0/GFPGANv1.3.pth",
            "https://github.com/vinthony/video-retalking/releases/download/v0.0.1/GFPGANv1.3.pth",
            "https://github.com/OpenTalker/video-retalking/releases/download/v0.0.1/GFPGANv1.3.pth",
        ),
        licence="Apache-2.0",
        commercial_use=None,
        shapes="retalkit_enhancers.gfpgan.network:parameter_shapes",
        size=348632874,
        sha256="c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
        entries=("params_ema", "params"),
    ),
)
