"""L-Net's convolution blocks, with the parameter names of the published checkpoint."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import spectral_norm

from retalkit_renderers.layer_norm import LayerNorm2d

NEGATIVE_SLOPE: Final = 0.1
"""Negative slope of the leaky ReLUs after the convolutions."""


def spectral_convolution(inputs: int, outputs: int, kernel: int) -> nn.Module:
    """Return a convolution with spectral normalisation that preserves the height and width.

    Reference: Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018. In evaluation
    mode, the stored vectors ``weight_u`` and ``weight_v`` determine the normalisation, and no power iteration is
    performed. In training mode, each forward pass performs one power iteration, as in the published training.

    ``torch.nn.utils.spectral_norm`` uses the state names of the published checkpoint (``weight_orig``, ``weight_u``,
    ``weight_v``). Its successor in ``torch.nn.utils.parametrizations`` uses different names.
    """
    return spectral_norm(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))


class ConvolutionBlock(nn.Module):
    """Spectrally normalised convolution, layer normalisation and leaky ReLU, with optional 2 x 2 average pooling.

    The input is [B, inputs, H, W]. The output is [B, outputs, H, W], or [B, outputs, H / 2, W / 2] with ``downsample``.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, *, downsample: bool = False) -> None:
        super().__init__()
        self.model = nn.Sequential(
            spectral_convolution(inputs, outputs, kernel), LayerNorm2d(outputs), nn.LeakyReLU(NEGATIVE_SLOPE)
        )
        if downsample:
            self.model.append(nn.AvgPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class UpsampleBlock(ConvolutionBlock):
    """``ConvolutionBlock`` after nearest-neighbour upsampling, from [B, inputs, H, W] to [B, outputs, 2 H, 2 W]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class ToImage(nn.Module):
    """Spectral 7 x 7 convolution and sigmoid, from [B, inputs, H, W] to RGB values [B, outputs, H, W] in [0, 1]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.model = nn.Sequential(spectral_convolution(inputs, outputs, 7), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
