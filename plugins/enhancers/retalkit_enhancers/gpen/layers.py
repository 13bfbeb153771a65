"""Layers with equalised learning rates, and low-pass filters whose numbers lie in the checkpoint."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.restoration.modulation import SLOPE

CODE_SIZE = 512
GAIN = 2**0.5
"""Behind every leaky ReLU: it keeps the variance."""
_TAPS = 4


class EqualLinear(nn.Module):
    """A matrix whose stored weights have variance 1 / ``rate`` ** 2: its factors are taken when it is used."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1, *, activated: bool = False) -> None:
        super().__init__()
        self._rate, self._activated = rate, activated
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, values: Tensor) -> Tensor:
        """[B, inputs] to [B, outputs]."""
        scale = self._rate / math.sqrt(self.weight.shape[1])
        result = functional.linear(values * scale, self.weight, self.bias * self._rate)
        return functional.leaky_relu(result, SLOPE) * GAIN if self._activated else result


class LowPass(nn.Module):
    """A filter of 4 x 4 numbers on every channel. It is a buffer, since the checkpoint holds it."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.empty(_TAPS, _TAPS))

    def _of(self, values: Tensor) -> Tensor:
        """[channels, 1, 4, 4]"""
        return self.kernel.expand(values.shape[1], 1, _TAPS, _TAPS)

    def smooth(self, values: Tensor, padding: int) -> Tensor:
        """[B, channels, h, w] to [B, channels, h + 2 padding - 3, w + 2 padding - 3], with zeros around."""
        return functional.conv2d(values, self._of(values).flip(2, 3), padding=padding, groups=values.shape[1])

    def enlarged(self, values: Tensor) -> Tensor:
        """[B, channels, h, w] to [B, channels, 2h, 2w]: zeros between the pixels, then the filter."""
        return functional.conv_transpose2d(values, self._of(values), stride=2, padding=1, groups=values.shape[1])


class EqualConvolution(nn.Module):
    """The weights of a convolution of the encoder."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, size, size))


class Bias(nn.Module):
    """What is added before a leaky ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(channels))


class EncoderLayer(nn.Sequential):
    """A convolution, with the pixels halved before it where it has a filter, and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, *, halved: bool) -> None:
        filters = [LowPass()] if halved else []
        super().__init__(*filters, EqualConvolution(inputs, outputs, size), Bias(outputs))

    def forward(self, input: Tensor) -> Tensor:
        """[B, inputs, h, w] to [B, outputs, h, w], or half of h and w."""
        *filters, convolution, added = self
        assert isinstance(convolution, EqualConvolution) and isinstance(added, Bias)
        stride = 1
        for each in filters:
            assert isinstance(each, LowPass)
            input, stride = each.smooth(input, padding=2), 2
        # The factor behind the leaky ReLU may stand before it.
        weight = convolution.weight * (GAIN / math.sqrt(convolution.weight[0].numel()))
        return functional.leaky_relu_(functional.conv2d(input, weight, added.bias * GAIN, stride=stride), SLOPE)
