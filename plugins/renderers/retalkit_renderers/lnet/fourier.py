"""Residual blocks of fast Fourier convolutions, which are conditioned on the speech.

Reference: Chi, Jiang and Mu, "Fast Fourier convolution", NeurIPS 2020. Three quarters of the channels are global
channels. They are convolved in the frequency domain, so that each pixel depends on the whole face. The scale and shift
of the normalisation are predicted from the speech (Huang and Belongie, "Arbitrary style transfer in real-time with
adaptive instance normalization", ICCV 2017). The published constructor shifts its arguments by one position. As a
result, these blocks have a leaky ReLU with a slope of 0.01 and no spectral normalisation, unlike the rest of the
network.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

NEGATIVE_SLOPE: Final = 0.01
LOCAL_DIVISOR: Final = 4
"""Ratio of the number of all channels to the number of local channels."""

_HIDDEN: Final = 128


class AdaptiveInstanceNorm(nn.Module):
    """Instance normalisation whose scale and shift are predicted from the speech."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Linear(features, _HIDDEN), nn.ReLU())
        self.mlp_gamma = nn.Linear(_HIDDEN, channels)
        self.mlp_beta = nn.Linear(_HIDDEN, channels)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        hidden = self.mlp_shared(z)
        scale = 1 + self.mlp_gamma(hidden)[..., None, None]
        # The tensor must be contiguous. In channels-last memory, torch uses a summation order that loses several
        # digits.
        return functional.instance_norm(x.contiguous()) * scale + self.mlp_beta(hidden)[..., None, None]


class FourierUnit(nn.Module):
    """1 x 1 convolution in the frequency domain, which maps [B, channels, H, W] to [B, channels, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_layer = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        spectrum = torch.fft.rfft2(x, norm="ortho")
        # The real and imaginary parts of each channel are adjacent: [B, 2 C, H, W / 2 + 1].
        parts = torch.view_as_real(spectrum).permute(0, 1, 4, 2, 3).reshape(batch, 2 * channels, height, -1)
        parts = functional.relu(self.bn(self.conv_layer(parts)))
        parts = parts.reshape(batch, channels, 2, height, -1).permute(0, 1, 3, 4, 2).contiguous()
        return torch.fft.irfft2(torch.view_as_complex(parts), s=(height, width), norm="ortho")


class SpectralTransform(nn.Module):
    """Transform between global channels, which maps [B, channels, H, W] to [B, channels, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Sequential(nn.Conv2d(channels, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU())
        self.fu = FourierUnit(half)
        self.conv2 = nn.Conv2d(half, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(x)
        return self.conv2(inner + self.fu(inner))


class FourierConvolution(nn.Module):
    """Convolution with a local and a global path.

    The layer maps [B, C, H, W] to local channels [B, C / 4, H, W] and global channels [B, 3 C / 4, H, W]. The first
    channels of the input are the local channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = channels // LOCAL_DIVISOR
        rest = channels - self.local
        self.convl2l = _reflect_convolution(self.local, self.local)
        self.convl2g = _reflect_convolution(self.local, rest)
        self.convg2l = _reflect_convolution(rest, self.local)
        self.convg2g = SpectralTransform(rest)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        local, rest = x[:, : self.local], x[:, self.local :]
        return self.convl2l(local) + self.convg2l(rest), self.convl2g(local) + self.convg2g(rest)


class FourierLayer(nn.Module):
    """Fourier convolution, adaptive normalisation and leaky ReLU, which map [B, C, H, W] and speech [B, F] to [B, C, H,
    W].
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.ffc = FourierConvolution(channels)
        self.bn_l = AdaptiveInstanceNorm(self.ffc.local, features)
        self.bn_g = AdaptiveInstanceNorm(channels - self.ffc.local, features)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        local, rest = self.ffc(x)
        return functional.leaky_relu(torch.cat([self.bn_l(local, z), self.bn_g(rest, z)], dim=1), NEGATIVE_SLOPE)


class FourierBlock(nn.Module):
    """Two Fourier layers with a residual connection."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.conv1 = FourierLayer(channels, features)
        self.conv2 = FourierLayer(channels, features)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x, z), z)


class FourierBlocks(nn.Module):
    """Sequence of ``count`` blocks, which are named ``res0``, ``res1`` and so on."""

    def __init__(self, count: int, channels: int, features: int) -> None:
        super().__init__()
        for number in range(count):
            self.add_module(f"res{number}", FourierBlock(channels, features))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        for block in self.children():
            x = block(x, z)
        return x


def _reflect_convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False, padding_mode="reflect")
