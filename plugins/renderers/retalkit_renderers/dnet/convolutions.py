"""Convolutions in a form that costs less and gives the same sums, up to the order of addition."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def convolve_doubled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Nearest-neighbour enlargement by two and then a 3 x 3 convolution with a border of zeros, in one step.

    ``x`` [B, I, H, W], ``weight`` [O, I, 3, 3], ``bias`` [O] -> [B, O, 2H, 2W]. Each enlarged pixel sees only 2 x 2
    different inputs, so that the two steps are one transposed convolution with a 4 x 4 kernel, which has 4 products for
    each output where the two steps have 9.
    """
    turned = weight.flip(2, 3).transpose(0, 1)
    tall = functional.pad(turned, (0, 0, 0, 1)) + functional.pad(turned, (0, 0, 1, 0))
    kernel = functional.pad(tall, (0, 1)) + functional.pad(tall, (1, 0))
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    return functional.conv_transpose2d(x, kernel, bias, stride=2, padding=1)


def convolve_to_few(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution with zero border, for few output channels.

    ``x`` [B, I, H, W], ``weight`` [O, I, k, k] with odd k, ``bias`` [O] -> [B, O, H, W]. Processors work on 16 or more
    output channels at a time. So each row of the kernel is made a channel of its own, and the k results are added,
    shifted by their row.
    """
    size, height = weight.shape[-1], x.shape[2]
    reach = size // 2
    rows = weight.permute(2, 0, 1, 3).reshape(-1, weight.shape[1], 1, size)
    parts = functional.conv2d(x, rows, padding=(0, reach)).contiguous()
    parts = functional.pad(parts, (0, 0, reach, reach)).unflatten(1, (size, len(weight)))
    out = parts[:, 0, :, :height]
    for row in range(1, size):
        out = out + parts[:, row, :, row : row + height]
    return out if bias is None else out + bias.view(-1, 1, 1)


class DoublingConvolution(nn.Conv2d):
    """``convolve_doubled`` with parameters of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return convolve_doubled(input, self.weight, self.bias)


class NarrowConvolution(nn.Conv2d):
    """``convolve_to_few`` with parameters of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return convolve_to_few(input, self.weight, self.bias)
