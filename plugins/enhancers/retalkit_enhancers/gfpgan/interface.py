"""Spec and checkpoint of the ``gfpgan`` enhancer.

This module is imported whenever stages are listed, so it must not import torch.
"""

from __future__ import annotations

from typing import Final

from retalkit.weights.checkpoint import Checkpoint

from retalkit_enhancers.releases import released
from retalkit_enhancers.restoration.config import restoration_spec

NETWORK: Final = "gfpgan"

STAGES: Final = (
    restoration_spec(NETWORK, "GFPGAN", "retalkit_enhancers.gfpgan.enhancer:GfpganEnhancer", "Apache-2.0"),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="GFPGAN v1.3: restores degraded 512 x 512 faces",
        file="GFPGANv1.3.pth",
        urls=(
            "https://github.com/TencentARC/GFPGAN/releases/download/v1.3.0/GFPGANv1.3.pth",
            *released("GFPGANv1.3.pth"),
        ),
        licence="Apache-2.0",
        commercial_use=None,
        shapes="retalkit_enhancers.gfpgan.network:parameter_shapes",
        size=348632874,
        sha256="c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
        entries=("params_ema", "params"),
    ),
)
