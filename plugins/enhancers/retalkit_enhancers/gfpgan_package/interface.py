"""Spec of the ``gfpgan_package`` enhancer.

This module is imported whenever stages are listed, so it must not import torch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from retalkit_enhancers.gfpgan.interface import NETWORK
from retalkit_enhancers.restoration.config import restoration_spec

NAME: Final = "gfpgan_package"
CHECKPOINT: Final = NETWORK
"""Checkpoint that is shared with the enhancer ``gfpgan``."""
INSTALL: Final = "retalkit[gfpgan]"

STAGES: Final = (
    replace(
        restoration_spec(
            NAME,
            "GFPGAN, executed by the published package gfpgan",
            "retalkit_enhancers.gfpgan_package.enhancer:GfpganPackageEnhancer",
            "Apache-2.0",
        ),
        requires=("torch", "torchvision", "gfpgan"),
        install=INSTALL,
        checkpoints=(CHECKPOINT,),
    ),
)
