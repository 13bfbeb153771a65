"""Blocks of D-Net. Attribute names are those of the published parameters.

The blocks are of PIRenderer (Ren et al., "PIRenderer: Controllable portrait image generation via semantic neural
rendering", ICCV 2021). ``descriptor`` is [B, D]; pictures and features are [B, C, H, W].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from retalkit_renderers.dnet.convolutions import DoublingConvolution, NarrowConvolution
from retalkit_renderers.dnet.norms import AdaptiveNorm, WholeNorm, channel_moments, rectified


def same_size(kernel: int, inputs: int, outputs: int) -> nn.Conv2d:
    """A convolution that keeps the size; ``kernel`` is odd."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class NormalisedConvolution(nn.Module):
    """Convolution, layer normalisation, leaky rectifier, at one size."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.model = nn.Sequential(same_size(kernel, inputs, outputs), WholeNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return rectified(self.model(x))


class Halving(NormalisedConvolution):
    """The same, and then means of 2 x 2 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(super().forward(x), 2)


class Doubling(nn.Module):
    """The same on a picture enlarged by two."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.model = nn.Sequential(DoublingConvolution(inputs, outputs, 3), WholeNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return rectified(self.model(x))


class ToPicture(nn.Module):
    """7 x 7 convolution to an RGB picture in (-1, 1)."""

    def __init__(self, inputs: int, outputs: int = 3) -> None:
        super().__init__()
        self.model = nn.Sequential(NarrowConvolution(inputs, outputs, 7))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.model(x))


class AdaptiveResidual(nn.Module):
    """``x`` + AdaIN(convolution(x)).

    The published block has a first convolution and norm whose result it throws away. Their parameters stand in the
    checkpoint, so they stand here; nothing computes with them.
    """

    def __init__(self, channels: int, descriptor: int) -> None:
        super().__init__()
        self.conv1 = same_size(3, channels, channels)
        self.conv2 = same_size(3, channels, channels)
        self.norm1 = AdaptiveNorm(channels, descriptor)
        self.norm2 = AdaptiveNorm(channels, descriptor)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        return self.norm2(self.conv2(x), descriptor).add_(x)


class AdaptiveResiduals(nn.Module):
    """Two of them in a row."""

    def __init__(self, channels: int, descriptor: int) -> None:
        super().__init__()
        self.res0 = AdaptiveResidual(channels, descriptor)
        self.res1 = AdaptiveResidual(channels, descriptor)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        return self.res1(self.res0(x, descriptor), descriptor)


class AdaptiveHalving(nn.Module):
    """AdaIN, rectifier and convolution twice; the first convolution halves the size."""

    def __init__(self, inputs: int, outputs: int, descriptor: int) -> None:
        super().__init__()
        self.conv_0 = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
        self.conv_1 = same_size(3, outputs, outputs)
        self.norm_0 = AdaptiveNorm(inputs, descriptor)
        self.norm_1 = AdaptiveNorm(outputs, descriptor)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        # ``x`` is still needed on the other side of the hourglass.
        x = self.conv_0(rectified(self.norm_0(x, descriptor, keep=True)))
        return self.conv_1(rectified(self.norm_1(x, descriptor)))


class AdaptiveDoubling(nn.Module):
    """Two branches of AdaIN, rectifier and transposed convolution, added; twice the size."""

    def __init__(self, inputs: int, outputs: int, descriptor: int) -> None:
        super().__init__()
        self.conv_0 = same_size(3, inputs, outputs)
        self.conv_1 = self._transposed(outputs, outputs)
        self.conv_s = self._transposed(inputs, outputs)
        self.norm_0 = AdaptiveNorm(inputs, descriptor)
        self.norm_1 = AdaptiveNorm(outputs, descriptor)
        self.norm_s = AdaptiveNorm(inputs, descriptor)

    @staticmethod
    def _transposed(inputs: int, outputs: int) -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        moments = channel_moments(x)
        short = self.conv_s(rectified(self.norm_s(x, descriptor, moments, keep=True)))
        inner = self.conv_0(rectified(self.norm_0(x, descriptor, moments)))
        return short + self.conv_1(rectified(self.norm_1(inner, descriptor)))
