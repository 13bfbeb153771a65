"""Spec of the face-parsing checkpoint.

This module is imported whenever checkpoints are listed, so it must not import torch.
"""

from __future__ import annotations

from typing import Final

from retalkit.weights.checkpoint import Checkpoint

from retalkit_enhancers.releases import released

NETWORK: Final = "parsenet"

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="ParseNet: segments aligned 512 x 512 faces into 19 classes",
        file="ParseNet-latest.pth",
        urls=(
            *released("ParseNet-latest.pth"),
            "https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models/ParseNet-latest.pth",
        ),
        # The licence is that of the repository that publishes the checkpoint.
        licence="academic and non-commercial use only (GPEN, Alibaba, 2021)",
        commercial_use=False,
        shapes="retalkit_enhancers.parsing.network:parameter_shapes",
        min_size=85_279_720,
    ),
)
