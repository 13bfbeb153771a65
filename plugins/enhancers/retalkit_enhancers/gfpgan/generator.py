"""GFPGAN's StyleGAN2 generator, with one style code per layer and external conditions for half of the channels.

References: Karras et al., "Analyzing and improving the image quality of StyleGAN", CVPR 2020; Wang et al., CVPR 2021,
section 3.4 (channel-split spatial feature transform).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from retalkit_enhancers.stylegan2 import CODE_SIZE, NEGATIVE_SLOPE, StyledConvolution, ToColours, optional_noise

CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64)
"""Number of channels at 4, 8, ... 512 pixels."""
LEVELS = len(CHANNELS)
NOISE_SIZES = (4, *(4 << level for level in range(1, LEVELS) for _ in range(2)))
"""Height and width of the noise for each styled convolution."""


class ConstantInput(nn.Module):
    """Learned constant 4 x 4 input of the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, CHANNELS[0], 4, 4))


class StoredNoise(nn.Module):
    """Fixed noise that the generator does not use. The layer exists because the checkpoint contains the noise."""

    def __init__(self) -> None:
        super().__init__()
        for index, size in enumerate(NOISE_SIZES):
            self.register_buffer(f"noise{index}", torch.zeros(1, 1, size, size))


class Generator(nn.Module):
    """Generator that computes a face from sixteen style codes and the U-Net's conditions."""

    def __init__(self) -> None:
        super().__init__()
        # This mapping from random latents to style codes is unused, because the U-Net computes the style codes.
        unused = [each for _ in range(8) for each in (nn.Linear(CODE_SIZE, CODE_SIZE), nn.LeakyReLU(NEGATIVE_SLOPE))]
        self.style_mlp = nn.Sequential(nn.Identity(), *unused)
        self.noises = StoredNoise()
        self.constant_input = ConstantInput()
        self.style_conv1 = StyledConvolution(CHANNELS[0], CHANNELS[0], enlarge=False)
        self.to_rgb1 = ToColours(CHANNELS[0])
        self.style_convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for level in range(1, LEVELS):
            inputs, outputs = CHANNELS[level - 1], CHANNELS[level]
            self.style_convs.append(StyledConvolution(inputs, outputs, enlarge=True))
            self.style_convs.append(StyledConvolution(outputs, outputs, enlarge=False))
            self.to_rgbs.append(ToColours(outputs))

    @property
    def styled(self) -> list[StyledConvolution]:
        """Return all styled convolutions in the order of ``NOISE_SIZES``."""
        later = [layer for layer in self.style_convs if isinstance(layer, StyledConvolution)]
        return [self.style_conv1, *later]

    def forward(
        self, codes: Tensor, conditions: Sequence[tuple[Tensor, Tensor]], noise: Sequence[Tensor] | None
    ) -> Tensor:
        """Return faces [B, 3, 512, 512].

        ``codes``: style codes [B, 16, 512]. ``conditions``: scale and shift at 8, 16, ... 512 pixels. ``noise``:
        tensors [B, 1, n, n] with n from ``NOISE_SIZES``, or None for no noise.
        """
        noises = optional_noise(noise, len(NOISE_SIZES))
        x = self.constant_input.weight.expand(len(codes), -1, -1, -1)
        x = self.style_conv1(x, codes[:, 0], noises[0])
        colours = self.to_rgb1(x, codes[:, 1], None)
        for level, (scale, shift) in enumerate(conditions):
            # A level's RGB layer and first convolution share their style codes with the neighbouring levels.
            first = 2 * level + 1
            x = self.style_convs[2 * level](x, codes[:, first], noises[first])
            same, conditioned = x.chunk(2, 1)
            x = torch.cat((same, conditioned * scale + shift), 1)
            x = self.style_convs[2 * level + 1](x, codes[:, first + 1], noises[first + 1])
            colours = self.to_rgbs[level](x, codes[:, first + 2], colours)
        return colours
