"""The enhancer ``gfpgan_package``. Imports no torch: read when stages are listed."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from retalkit_enhancers.gfpgan.interface import NETWORK
from retalkit_enhancers.restoration.config import restoration_spec

NAME: Final = "gfpgan_package"
CHECKPOINT: Final = NETWORK
"""The same checkpoint as that of ``gfpgan``."""
INSTALL: Final = "retalkit[gfpgan]"

STAGES: Final = (
    replace(
        restoration_spec(
            NAME,
            "GFPGAN with the code of the package gfpgan",
            "retalkit_enhancers.gfpgan_package.enhancer:GfpganPackageEnhancer",
            "Apache-2.0",
        ),
        requires=("torch", "torchvision", "gfpgan"),
        install=INSTALL,
        checkpoints=(CHECKPOINT,),
    ),
)
