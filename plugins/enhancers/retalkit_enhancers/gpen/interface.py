"""Spec and checkpoint of the ``gpen`` enhancer.

This module is imported whenever stages are listed, so it must not import torch.
"""

from __future__ import annotations

from typing import Final

from retalkit.weights.checkpoint import Checkpoint

from retalkit_enhancers.releases import released
from retalkit_enhancers.restoration.config import restoration_spec

NETWORK: Final = "gpen"

STAGES: Final = (
    restoration_spec(
        NETWORK,
        "GPEN",
        "retalkit_enhancers.gpen.enhancer:GpenEnhancer",
        "Apache-2.0; weights for academic and non-commercial use only",
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="GPEN-BFR-512: restores degraded 512 x 512 faces",
        file="GPEN-BFR-512.pth",
        urls=(
            *released("GPEN-BFR-512.pth"),
            "https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models/GPEN-BFR-512.pth",
        ),
        # The terms are stated in the README of the publisher's repository, yangxy/GPEN.
        licence="academic and non-commercial use only (Alibaba, 2021)",
        commercial_use=False,
        shapes="retalkit_enhancers.gpen.network:parameter_shapes",
        size=284_085_738,
        sha256="f1002c41add95b0decad69604d80455576f7187dd99ca16bd611bcfd44c10b51",
    ),
)
