"""Convolution blocks of L-Net, with the parameter names of the published checkpoint."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import spectral_norm

from retalkit_renderers.layer_norm import LayerNorm2d

NEGATIVE_SLOPE: Final = 0.1
"""Of the leaky ReLU after these convolutions."""


def spectral_convolution(inputs: int, outputs: int, kernel: int) -> nn.Module:
    """Return a convolution with spectral normalisation that keeps height and width.

    Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018. In evaluation mode the
    stored vectors ``weight_u`` and ``weight_v`` are part of the function: nothing is iterated. In training mode each
    forward pass takes one power iteration, as in the published training.

    ``torch.nn.utils.spectral_norm`` names its state as the published checkpoint does (``weight_orig``, ``weight_u``,
    ``weight_v``); its successor in ``torch.nn.utils.parametrizations`` does not.
    """
    return spectral_norm(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))


class ConvolutionBlock(nn.Module):
    """Spectral convolution, layer normalisation and leaky ReLU; optionally 2 x 2 average pooling.

    [B, inputs, H, W] -> [B, outputs, H, W], or [B, outputs, H / 2, W / 2] with ``downsample``.
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
    """``ConvolutionBlock`` after nearest-neighbour upsampling: [B, inputs, H, W] -> [B, outputs, 2 H, 2 W]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class ToImage(nn.Module):
    """Spectral 7 x 7 convolution and sigmoid: [B, inputs, H, W] -> colours in [0, 1], [B, outputs, H, W]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.model = nn.Sequential(spectral_convolution(inputs, outputs, 7), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class AudioBlock(nn.Module):
    """Convolution, batch normalisation and ReLU; with ``residual`` the input is added before the ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv_block(x)
        return functional.relu(out + x if self.residual else out)
