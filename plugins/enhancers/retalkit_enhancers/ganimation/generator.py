"""GANimation generator, which edits a face according to facial action unit strengths.

Reference: Pumarola et al., "GANimation: anatomically-aware facial animation from a single image", ECCV 2018. Parameter
names and constants match the reimplementation that VideoReTalking uses.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from retalkit.inference import state_shapes
from torch import Tensor, nn

from retalkit_enhancers.ganimation.emotions import UNITS

SIZE = 128


class Animated(NamedTuple):
    """Generator output tensors with the shape [B, ..., 128, 128]."""

    colours: Tensor
    """Edited face, [B, 3, 128, 128] in [-1, 1]."""
    kept: Tensor
    """Blend weight of the input face, [B, 1, 128, 128] in [0, 1]."""
    features: Tensor
    """Features from which the RGB values and the blend weights are computed, [B, 64, 128, 128]."""

    def blend(self, faces: Tensor) -> Tensor:
        """Return the edited face, blended over the input face, [B, 3, 128, 128] in [-1, 1]."""
        return self.kept * faces + (1 - self.kept) * self.colours


class ResidualBlock(nn.Module):
    """Residual block with two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            *_convolution_block(nn.Conv2d(channels, channels, 3, padding=1), channels),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, channels, h, w] to [B, channels, h, w]."""
        return x + self.conv_block(x)


class Generator(nn.Module):
    """Generator with two downsampling layers, six residual blocks, two upsampling layers, and colour and mask heads."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            *_convolution_block(nn.Conv2d(3 + len(UNITS), 64, 7, padding=3), 64),
            *_convolution_block(nn.Conv2d(64, 128, 4, 2, 1), 128),
            *_convolution_block(nn.Conv2d(128, 256, 4, 2, 1), 256),
            *(ResidualBlock(256) for _ in range(6)),
            *_convolution_block(nn.ConvTranspose2d(256, 128, 4, 2, 1), 128),
            *_convolution_block(nn.ConvTranspose2d(128, 64, 4, 2, 1), 64),
        )
        self.color_top = nn.Sequential(nn.Conv2d(64, 3, 7, padding=3, bias=False))
        self.au_top = nn.Sequential(nn.Conv2d(64, 1, 7, padding=3, bias=False))

    def forward(self, faces: Tensor, units: Tensor) -> Animated:
        """Return the edited faces and their blend weights.

        ``faces``: input faces [B, 3, 128, 128], BGR in [-1, 1]. ``units``: action unit strengths [B, 17] in [0, 1], in
        the order of ``UNITS``.
        """
        planes = units[:, :, None, None].expand(-1, -1, *faces.shape[2:])
        features = self.model(torch.cat((faces, planes), 1))
        return Animated(torch.tanh(self.color_top(features)), torch.sigmoid(self.au_top(features)), features)


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return each generator parameter's name and shape."""
    return state_shapes(Generator)


def _convolution_block(convolution: nn.Module, channels: int) -> tuple[nn.Module, ...]:
    return convolution, nn.InstanceNorm2d(channels), nn.ReLU()
