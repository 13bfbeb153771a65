"""The StyleGAN2 generator inside GFPGAN: a code for every layer, and a picture from outside on half of the channels.

Karras et al., "Analyzing and improving the image quality of StyleGAN", CVPR 2020; Wang et al., CVPR 2021, section 3.4
(channel-split spatial feature transform).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.convolutions.doubling import doubled
from retalkit_enhancers.restoration.modulation import SLOPE, ModulatedConvolution

CODE_SIZE = 512
CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64)
"""Of the pictures of 4, 8, ... 512 pixels."""
LEVELS = len(CHANNELS)
NOISE_SIZES = (4, *(4 << level for level in range(1, LEVELS) for _ in range(2)))
"""Height and width of the noise of each styled convolution."""
_LARGE = 32
"""Height and width from which it pays to arrange a kernel."""


class StyleConvolution(nn.Module):
    """A modulated 3 x 3 convolution, noise of a learned strength, a bias, a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, *, doubling: bool) -> None:
        """``size``: height and width of the result."""
        super().__init__()
        self._doubling, self._large = doubling, size >= _LARGE
        self.modulated_conv = ModulatedConvolution(nn.Linear(CODE_SIZE, inputs), inputs, outputs, 3)
        self.weight = nn.Parameter(torch.empty(1))  # strength of the noise
        self.bias = nn.Parameter(torch.empty(1, outputs, 1, 1))

    def arrange(self) -> None:
        """Makes a large kernel ready."""
        if self._large and not self._doubling:
            self.modulated_conv.arrange()

    def forward(self, values: Tensor, code: Tensor, noise: Tensor | None) -> Tensor:
        """[B, inputs, h, w], codes [B, 512], noise [B, 1, h', w'] to [B, outputs, h', w']."""
        layer = self.modulated_conv
        scales = layer.scales(code)
        values = values * scales[..., None, None]
        drawn = layer.doubled(values) if self._doubling else layer.plain(values)
        # The square root of 2 keeps the variance through the activation.
        drawn = torch.addcmul(self.bias, drawn, layer.demodulation(scales) * 2**0.5)
        if noise is not None:
            drawn += self.weight * noise
        return functional.leaky_relu_(drawn, SLOPE)


class ToColours(nn.Module):
    """A modulated 1 x 1 convolution to three colours, on top of the doubled colours of the level before."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConvolution(nn.Linear(CODE_SIZE, inputs), inputs, 3, 1)
        self.bias = nn.Parameter(torch.empty(1, 3, 1, 1))

    def forward(self, values: Tensor, code: Tensor, colours: Tensor | None) -> Tensor:
        """[B, inputs, h, w], codes [B, 512], colours [B, 3, h/2, w/2] to [B, 3, h, w]."""
        result = self.modulated_conv.mixed(values, self.modulated_conv.scales(code)) + self.bias
        return result if colours is None else result + doubled(colours)


class Start(nn.Module):
    """The learned picture of 4 x 4 that every face starts from."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, CHANNELS[0], 4, 4))


class StoredNoise(nn.Module):
    """Noise that the checkpoint holds for uses that want the same for every face. It is not used."""

    def __init__(self) -> None:
        super().__init__()
        for index, size in enumerate(NOISE_SIZES):
            self.register_buffer(f"noise{index}", torch.empty(1, 1, size, size))


class Generator(nn.Module):
    """Draws a face from sixteen codes and the U-Net's pictures."""

    def __init__(self) -> None:
        super().__init__()
        # Would bring random numbers to codes; the codes here are the U-Net's.
        unused = [each for _ in range(8) for each in (nn.Linear(CODE_SIZE, CODE_SIZE), nn.LeakyReLU(SLOPE))]
        self.style_mlp = nn.Sequential(nn.Identity(), *unused)
        self.noises = StoredNoise()
        self.constant_input = Start()
        self.style_conv1 = StyleConvolution(CHANNELS[0], CHANNELS[0], 4, doubling=False)
        self.to_rgb1 = ToColours(CHANNELS[0])
        self.style_convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for level in range(1, LEVELS):
            inputs, outputs, size = CHANNELS[level - 1], CHANNELS[level], 4 << level
            self.style_convs.append(StyleConvolution(inputs, outputs, size, doubling=True))
            self.style_convs.append(StyleConvolution(outputs, outputs, size, doubling=False))
            self.to_rgbs.append(ToColours(outputs))

    @property
    def styled(self) -> list[StyleConvolution]:
        """Every styled convolution, in the order of ``NOISE_SIZES``."""
        later = [layer for layer in self.style_convs if isinstance(layer, StyleConvolution)]
        return [self.style_conv1, *later]

    def forward(
        self, codes: Tensor, conditions: Sequence[tuple[Tensor, Tensor]], noise: Sequence[Tensor] | None
    ) -> Tensor:
        """[B, 3, 512, 512] from codes [B, 16, 512], factor and summand of 8, 16, ... 512 pixels, and noise."""
        noises = [None] * len(NOISE_SIZES) if noise is None else noise
        values = self.constant_input.weight.expand(len(codes), -1, -1, -1)
        values = self.style_conv1(values, codes[:, 0], noises[0])
        colours = self.to_rgb1(values, codes[:, 1], None)
        for level, (factor, summand) in enumerate(conditions):
            # The colours of a level and its first convolution share a code with their neighbours.
            first = 2 * level + 1
            values = self.style_convs[2 * level](values, codes[:, first], noises[first])
            kept, changed = values.chunk(2, 1)
            values = torch.cat((kept, torch.addcmul(summand, changed, factor)), 1)
            values = self.style_convs[2 * level + 1](values, codes[:, first + 1], noises[first + 1])
            colours = self.to_rgbs[level](values, codes[:, first + 2], colours)
        return colours
