"""Layers with equalised learning rates, and low-pass filters whose kernels are part of the checkpoint."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.stylegan2 import ACTIVATION_GAIN, NEGATIVE_SLOPE


def activate(x: Tensor, bias: Tensor) -> Tensor:
    """Return the scaled leaky ReLU of the sum of ``x`` [B, C, h, w] and ``bias`` [C]."""
    return functional.leaky_relu(x + bias[:, None, None], NEGATIVE_SLOPE) * ACTIVATION_GAIN


class EqualLinear(nn.Module):
    """Linear layer with an equalised learning rate. The stored weights have a variance of 1 / ``rate`` ** 2."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1, *, activated: bool = False) -> None:
        super().__init__()
        self._rate, self._activated = rate, activated
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs] to [B, outputs]."""
        scale = self._rate / math.sqrt(self.weight.shape[1])
        out = functional.linear(x * scale, self.weight, self.bias * self._rate)
        return functional.leaky_relu(out, NEGATIVE_SLOPE) * ACTIVATION_GAIN if self._activated else out


class LowPass(nn.Module):
    """Depthwise 4 x 4 low-pass filter. The kernel is a buffer, because the checkpoint contains the kernel."""

    kernel: Tensor

    def __init__(self, gain: float = 1) -> None:
        """Create the filter. ``gain``: factor that multiplies the kernel. Filtering after zero insertion requires a
        gain of 4.
        """
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", torch.outer(taps, taps) * gain)

    def smooth(self, x: Tensor, padding: int) -> Tensor:
        """Filter ``x`` [B, C, h, w] with zero padding. The result is [B, C, h + 2 padding - 3, w + 2 padding - 3]."""
        return functional.conv2d(x, self._weight(x).flip(2, 3), padding=padding, groups=x.shape[1])

    def upsample(self, x: Tensor) -> Tensor:
        """Upsample ``x`` [B, C, h, w] to [B, C, 2h, 2w] by inserting zeros between pixels and filtering."""
        return functional.conv_transpose2d(x, self._weight(x), stride=2, padding=1, groups=x.shape[1])

    def _weight(self, x: Tensor) -> Tensor:
        return self.kernel.expand(x.shape[1], 1, *self.kernel.shape)


class EqualConvolution(nn.Module):
    """Encoder convolution with an equalised learning rate."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self._stride = stride
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, h, w] to [B, outputs, h', w'] without padding."""
        scale = 1 / math.sqrt(self.weight[0].numel())
        return functional.conv2d(x, self.weight * scale, stride=self._stride)


class Bias(nn.Module):
    """Bias followed by a leaky ReLU. The corresponding published layer is called FusedLeakyReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return activate(x, self.bias)


class Blur(LowPass):
    """Low-pass filter that precedes a convolution with a stride of 2."""

    def forward(self, x: Tensor) -> Tensor:
        return self.smooth(x, padding=2)


class EncoderLayer(nn.Sequential):
    """Convolution followed by a leaky ReLU. ``downsample`` adds a low-pass filter and a stride of 2."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, downsample: bool) -> None:
        blur = [Blur()] if downsample else []
        super().__init__(*blur, EqualConvolution(inputs, outputs, kernel, stride=2 if downsample else 1), Bias(outputs))
