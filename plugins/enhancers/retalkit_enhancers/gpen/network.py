"""GPEN-BFR-512, which restores degraded 512 x 512 faces.

Reference: Yang et al., "GAN prior embedded network for blind face restoration in the wild", CVPR 2021. An encoder
halves the face size seven times. The encoder's last level provides the style code of a StyleGAN2 generator. The
features of each encoder level replace StyleGAN2's noise. The encoder features are concatenated with the generator's
features, whereas StyleGAN2 adds the noise. Images are RGB in [-1, 1].

Parameter names and shapes match those of the published checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from retalkit.inference import state_shapes
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.gpen.layers import Bias, EncoderLayer, EqualLinear, LowPass
from retalkit_enhancers.stylegan2 import CODE_SIZE, ModulatedConvolution

SIZE = 512
_CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64)
"""Number of channels at 4, 8, ... 512 pixels in both the encoder and the generator."""
_LEVELS = len(_CHANNELS)
_RATE = 0.01
"""Learning rate multiplier for the mapping network."""
_EPSILON = 1e-8


class StyleConvolution(ModulatedConvolution):
    """Modulated convolution with an equalised learning rate. ``enlarge`` doubles the height and width."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, enlarge: bool = False, demodulate: bool = True
    ) -> None:
        gain = 1 / math.sqrt(inputs * kernel**2)
        modulation = EqualLinear(CODE_SIZE, inputs)
        super().__init__(modulation, inputs, outputs, kernel, demodulate=demodulate, gain=gain)
        if enlarge:
            self.blur = LowPass(4)
        self._enlarge = enlarge

    def convolve(self, x: Tensor) -> Tensor:
        """Map [B, inputs, h, w] to [B, outputs, h, w], or to [B, outputs, 2h, 2w] with ``enlarge``."""
        if not self._enlarge:
            return super().convolve(x)
        out = functional.conv_transpose2d(x, self.weight[0].transpose(0, 1), stride=2)  # 2h + 1
        return self.blur.smooth(out, padding=1)


class FeatureStrength(nn.Module):
    """Learned scale factor for the encoder's features."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class StyledLayer(nn.Module):
    """Modulated convolution, followed by concatenation with the encoder features, a bias and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, *, enlarge: bool) -> None:
        super().__init__()
        self.conv = StyleConvolution(inputs, outputs, 3, enlarge=enlarge)
        self.noise = FeatureStrength()
        self.activate = Bias(2 * outputs)

    def forward(self, x: Tensor, code: Tensor, features: Tensor) -> Tensor:
        """Map [B, inputs, h, w] to [B, 2 outputs, h', w'].

        ``code``: style codes [B, 512]. ``features``: encoder features [B, outputs, h', w'].
        """
        return self.activate(torch.cat((self.conv(x, code), self.noise.weight * features), 1))


class ToColours(nn.Module):
    """Modulated 1 x 1 convolution to RGB values, which are added to the previous level's upsampled RGB values."""

    def __init__(self, inputs: int, *, first: bool = False) -> None:
        super().__init__()
        if not first:
            self.upsample = LowPass(4)
        self.conv = StyleConvolution(inputs, 3, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, code: Tensor, colours: Tensor | None) -> Tensor:
        """Map [B, inputs, h, w] to RGB values [B, 3, h, w].

        ``code``: style codes [B, 512]. ``colours``: RGB values of the previous level [B, 3, h/2, w/2], or None.
        """
        out = self.conv(x, code) + self.bias
        return out if colours is None else out + self.upsample.upsample(colours)


class ConstantInput(nn.Module):
    """Learned constant 4 x 4 input of the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, _CHANNELS[0], 4, 4))


class PixelNorm(nn.Module):
    """Normalisation of codes [B, 512] to a mean square of 1."""

    def forward(self, code: Tensor) -> Tensor:
        return code * torch.rsqrt(code.square().mean(1, keepdim=True) + _EPSILON)


class Generator(nn.Module):
    """Generator that computes a face from a style code and the encoder's features."""

    def __init__(self) -> None:
        super().__init__()
        layers = [EqualLinear(CODE_SIZE, CODE_SIZE, _RATE, activated=True) for _ in range(8)]
        self.style = nn.Sequential(PixelNorm(), *layers)
        self.input = ConstantInput()
        self.conv1 = StyledLayer(_CHANNELS[0], _CHANNELS[0], enlarge=False)
        self.to_rgb1 = ToColours(2 * _CHANNELS[0], first=True)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for level in range(1, _LEVELS):
            inputs, outputs = 2 * _CHANNELS[level - 1], _CHANNELS[level]
            self.convs.append(StyledLayer(inputs, outputs, enlarge=True))
            self.convs.append(StyledLayer(2 * outputs, outputs, enlarge=False))
            self.to_rgbs.append(ToColours(2 * outputs))

    def forward(self, code: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Return faces [B, 3, 512, 512] for style codes [B, 512] and encoder features at 4, 8, ... 512 pixels."""
        code = self.style(code)
        x = self.input.input.expand(len(code), -1, -1, -1)
        x = self.conv1(x, code, features[0])
        colours = self.to_rgb1(x, code, None)
        steps = zip(self.convs[::2], self.convs[1::2], self.to_rgbs, features[1:], strict=True)
        for enlarge, refine, to_colours, feature in steps:
            x = refine(enlarge(x, code, feature), code, feature)
            colours = to_colours(x, code, colours)
        return colours


class Gpen(nn.Module):
    """GPEN network, which consists of the encoder and the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = Generator()
        self.ecd0 = nn.Sequential(EncoderLayer(3, _CHANNELS[-1], 1, downsample=False))
        for step in range(1, _LEVELS):
            inputs, outputs = _CHANNELS[-step], _CHANNELS[-step - 1]
            self.add_module(f"ecd{step}", nn.Sequential(EncoderLayer(inputs, outputs, 3, downsample=True)))
        self.final_linear = nn.Sequential(EqualLinear(_CHANNELS[0] * 4 * 4, CODE_SIZE, activated=True))

    def forward(self, faces: Tensor) -> Tensor:
        """Return unclipped restored faces [B, 3, 512, 512] for degraded faces [B, 3, 512, 512], RGB in [-1, 1]."""
        features: list[Tensor] = []
        x = faces
        for step in range(_LEVELS):
            x = self.get_submodule(f"ecd{step}")(x)
            features.append(x)
        return self.generator(self.final_linear(x.flatten(1)), features[::-1])


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each network parameter and filter kernel."""
    return state_shapes(Gpen)
