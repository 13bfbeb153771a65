"""Convolutions of L-Net with the names of the published checkpoint: weights with a spectral norm, a norm over the whole
picture, and a half-wave after it.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE: Final = 0.1
"""Of the leaky rectifier behind these convolutions."""


class SpectralConvolution(nn.Module):
    """A convolution whose kernel is divided by its largest singular value, as far as training had estimated it.

    Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018. The estimate is ``u . W v``
    with the stored vectors: in evaluation nothing is iterated, so that they are part of the function.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, inside: int, outside: int, size: int) -> None:
        super().__init__()
        self.weight_orig = nn.Parameter(torch.empty(outside, inside, size, size))
        self.bias = nn.Parameter(torch.empty(outside))
        self.register_buffer("weight_u", torch.empty(outside))
        self.register_buffer("weight_v", torch.empty(inside * size * size))
        self.padding = size // 2

    def weight(self) -> Tensor:
        """The kernel that is used: [outside, inside, size, size]."""
        return self.weight_orig / torch.dot(self.weight_u, self.weight_orig.flatten(1) @ self.weight_v)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight(), self.bias, padding=self.padding)


class PictureNorm(nn.Module):
    """Zero mean and unit variance over all channels and pixels of a picture, then a scale and an offset of each
    channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        # With channels last. torch has a norm of groups, but in this memory order it sums in single precision one
        # number after the other and is off by 1e-5, which the following blocks enlarge.
        rows = x.permute(0, 2, 3, 1)
        rows = functional.layer_norm(rows, rows.shape[1:])
        return torch.addcmul(self.bias.flatten(), rows, self.weight.flatten()).permute(0, 3, 1, 2)


class NormedConvolution(nn.Module):
    """Convolution, norm, leaky rectifier: [B, inside, H, W] -> [B, outside, H, W], or half as high and wide where it
    is ``halved`` (mean of 2 x 2 pixels)."""

    def __init__(self, inside: int, outside: int, size: int = 3, *, halved: bool = False) -> None:
        super().__init__()
        self.model = nn.Sequential(
            SpectralConvolution(inside, outside, size), PictureNorm(outside), nn.LeakyReLU(SLOPE, inplace=True)
        )
        if halved:
            self.model.append(nn.AvgPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class DoubledConvolution(nn.Module):
    """Every pixel doubled, then as ``NormedConvolution``: [B, inside, H, W] -> [B, outside, 2 H, 2 W]."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            SpectralConvolution(inside, outside, 3), PictureNorm(outside), nn.LeakyReLU(SLOPE, inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class FinalConvolution(nn.Module):
    """[B, inside, H, W] -> colours in [0, 1], [B, outside, H, W]."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.model = nn.Sequential(SpectralConvolution(inside, outside, 7), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class AudioConvolution(nn.Module):
    """Convolution, batch norm, rectifier; with ``residual`` its input is added before the rectifier."""

    def __init__(
        self,
        inside: int,
        outside: int,
        size: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block: nn.Module = nn.Sequential(
            nn.Conv2d(inside, outside, size, stride, padding), nn.BatchNorm2d(outside)
        )
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv_block(x)
        if self.residual:
            out += x
        return functional.relu_(out)
