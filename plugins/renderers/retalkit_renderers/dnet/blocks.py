"""Building blocks of D-Net. Attribute names match the published parameter names.

The blocks originate from PIRenderer (Ren et al., "PIRenderer: Controllable portrait image generation via semantic
neural rendering", ICCV 2021). ``descriptor`` has the shape [B, D]. Images and features have the shape [B, C, H, W].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from retalkit_renderers.dnet.norms import AdaptiveInstanceNorm
from retalkit_renderers.layer_norm import LayerNorm2d

NEGATIVE_SLOPE = 0.1
"""Negative slope of all leaky ReLUs in the network."""


def leaky_relu(x: Tensor) -> Tensor:
    """Return the leaky ReLU of ``x`` with the network's negative slope."""
    return functional.leaky_relu(x, NEGATIVE_SLOPE)


def same_convolution(kernel: int, inputs: int, outputs: int) -> nn.Conv2d:
    """Return a convolution that preserves the height and width. ``kernel`` must be odd."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class ConvolutionBlock(nn.Module):
    """Convolution, layer normalisation and leaky ReLU at constant resolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.model = nn.Sequential(same_convolution(kernel, inputs, outputs), LayerNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.model(x))


class DownsampleBlock(ConvolutionBlock):
    """``ConvolutionBlock`` followed by 2 x 2 average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(super().forward(x), 2)


class UpsampleBlock(ConvolutionBlock):
    """``ConvolutionBlock`` that follows nearest-neighbour upsampling by two."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class ToImage(nn.Module):
    """7 x 7 convolution to an RGB image with values in (-1, 1)."""

    def __init__(self, inputs: int, outputs: int = 3) -> None:
        super().__init__()
        self.model = nn.Sequential(same_convolution(7, inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.model(x))


class AdaptiveResidual(nn.Module):
    """Residual block that computes ``x + AdaIN(convolution(x))``.

    The published block also computes ``conv1`` and ``norm1`` and discards the result. The block retains their
    parameters, because the checkpoint contains them. The forward pass does not use these parameters, so they receive no
    gradient.
    """

    def __init__(self, channels: int, descriptor: int) -> None:
        super().__init__()
        self.conv1 = same_convolution(3, channels, channels)
        self.conv2 = same_convolution(3, channels, channels)
        self.norm1 = AdaptiveInstanceNorm(channels, descriptor)
        self.norm2 = AdaptiveInstanceNorm(channels, descriptor)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        return x + self.norm2(self.conv2(x), descriptor)


class AdaptiveResiduals(nn.Module):
    """Two ``AdaptiveResidual`` blocks in sequence."""

    def __init__(self, channels: int, descriptor: int) -> None:
        super().__init__()
        self.res0 = AdaptiveResidual(channels, descriptor)
        self.res1 = AdaptiveResidual(channels, descriptor)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        return self.res1(self.res0(x, descriptor), descriptor)


class AdaptiveDownsample(nn.Module):
    """Two sequences of AdaIN, leaky ReLU and convolution. The first convolution has a stride of 2."""

    def __init__(self, inputs: int, outputs: int, descriptor: int) -> None:
        super().__init__()
        self.conv_0 = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
        self.conv_1 = same_convolution(3, outputs, outputs)
        self.norm_0 = AdaptiveInstanceNorm(inputs, descriptor)
        self.norm_1 = AdaptiveInstanceNorm(outputs, descriptor)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        x = self.conv_0(leaky_relu(self.norm_0(x, descriptor)))
        return self.conv_1(leaky_relu(self.norm_1(x, descriptor)))


class AdaptiveUpsample(nn.Module):
    """Sum of two branches of AdaIN, leaky ReLU and transposed convolution. The block doubles the height and width."""

    def __init__(self, inputs: int, outputs: int, descriptor: int) -> None:
        super().__init__()
        self.conv_0 = same_convolution(3, inputs, outputs)
        self.conv_1 = self._transposed(outputs, outputs)
        self.conv_s = self._transposed(inputs, outputs)
        self.norm_0 = AdaptiveInstanceNorm(inputs, descriptor)
        self.norm_1 = AdaptiveInstanceNorm(outputs, descriptor)
        self.norm_s = AdaptiveInstanceNorm(inputs, descriptor)

    @staticmethod
    def _transposed(inputs: int, outputs: int) -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        shortcut = self.conv_s(leaky_relu(self.norm_s(x, descriptor)))
        x = self.conv_0(leaky_relu(self.norm_0(x, descriptor)))
        return shortcut + self.conv_1(leaky_relu(self.norm_1(x, descriptor)))
