"""Fourier units of L-Net that compute in float32 under autocast.

Half-precision Fourier transforms do not exist for bfloat16, and on GPUs not for L-Net's sizes of 12, 24 and 48 pixels.
"""

from __future__ import annotations

from retalkit_renderers.lnet.fourier import FourierUnit
from retalkit_training.networks.precision import at_least_float32, without_autocast
from torch import Tensor, nn


class Float32FourierUnit(FourierUnit):
    """Fourier unit that computes in float32 if its input has half precision."""

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x.device.type):
            return super().forward(at_least_float32(x))


def keep_fourier_units_in_float32(network: nn.Module) -> None:
    """Change the Fourier units of a network to ``Float32FourierUnit``, without changing its state."""
    for module in network.modules():
        if type(module) is FourierUnit:
            # The class adds no attributes, so that only the forward pass changes.
            module.__class__ = Float32FourierUnit
