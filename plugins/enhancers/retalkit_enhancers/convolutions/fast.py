"""Convolutions of 3 x 3 in the way that is fastest for the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.convolutions import winograd

_LEAST: Final = 32
_LEAST_CHANNELS: Final = 256
"""Pixels of height and width, and channels that come in, from which fewer products make up for moving more numbers."""


def laid_out(values: Tensor) -> Tensor:
    """The same [a, b, c, d] with b last in memory, where convolutions are faster that way."""
    return values if values.device.type == "mps" else values.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class Kernel:
    """Weights of a 3 x 3 convolution, ready for use."""

    weight: Tensor
    """[outputs, inputs, 3, 3]."""
    matrices: Tensor | None
    """The same as ``winograd.convolve`` wants them; None where it is not used."""


def ready(weight: Tensor, *, large: bool = True) -> Kernel:
    """The kernel of [outputs, inputs, 3, 3]; ``large``: pictures are large enough for fewer products to pay."""
    pays = large and weight.device.type == "cpu" and weight.shape[1] >= _LEAST_CHANNELS
    exact = weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return Kernel(laid_out(weight), winograd.transformed(weight) if pays and exact else None)


def convolve(values: Tensor, kernel: Kernel, bias: Tensor, padding: int = 0) -> Tensor:
    """[T, inputs, h, w] to [T, outputs, h + 2 padding - 2, w + 2 padding - 2], with zeros around the picture."""
    sizes = [size + 2 * padding - 2 for size in values.shape[2:]]
    fits = all(size >= _LEAST and size % winograd.TILE == 0 for size in sizes)
    if kernel.matrices is not None and fits and values.dtype == torch.float32:
        return winograd.convolve(values, kernel.matrices, bias, padding)
    return functional.conv2d(values, kernel.weight, bias, padding=padding)


class Convolution(nn.Conv2d):
    """A layer of that kind, with zeros around the picture."""

    _kernel: Kernel | None = None

    def __init__(self, inputs: int, outputs: int, *, large: bool) -> None:
        """``large``: whether its pictures have at least 32 x 32 pixels."""
        super().__init__(inputs, outputs, 3, padding=1)
        self._large = large

    def arrange(self) -> None:
        """Makes the weights ready; they must not change afterwards."""
        self._kernel = ready(self.weight.detach(), large=self._large)

    def forward(self, input: Tensor) -> Tensor:
        """[T, inputs, h, w] to [T, outputs, h, w]."""
        if self._kernel is None or self.bias is None:
            return super().forward(input)
        return convolve(input, self._kernel, self.bias, padding=1)
