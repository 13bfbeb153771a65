"""Fourier units of L-Net that compute in float32 under autocast.

Half-precision Fourier transforms do not exist for bfloat16, and on GPUs not for L-Net's sizes of 12, 24 and 48 pixels.
"""

from __future__ import annotations

import torch
from retalkit_renderers.lnet.fourier import FourierUnit
from torch import Tensor, nn


class Float32FourierUnit(FourierUnit):
    """Fourier unit that computes in float32."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.amp.is_autocast_available(x.device.type):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def keep_fourier_units_in_float32(network: nn.Module) -> None:
    """Change the Fourier units of a network to ``Float32FourierUnit``, without changing its state."""
    for module in network.modules():
        if type(module) is FourierUnit:
            # The class adds no attributes, so that only the forward pass changes.
            module.__class__ = Float32FourierUnit
