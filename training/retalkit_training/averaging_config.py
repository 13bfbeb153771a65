"""Decay of the published moving averages. The module does not import torch."""

from __future__ import annotations

from typing import Final

PUBLISHED_DECAY: Final = 0.5 ** (32 / 10_000)
"""Decay of PIRender, GPEN, GFPGAN and StyleGAN2: a half-life of 10,000 images at a batch size of 32."""
