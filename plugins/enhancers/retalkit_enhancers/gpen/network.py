"""GPEN-BFR-512: restores a degraded face of 512 x 512.

Yang et al., "GAN prior embedded network for blind face restoration in the wild", CVPR 2021. An encoder halves the face
seven times; its last level gives the code of a StyleGAN2 generator, and each level is fed where StyleGAN2 adds noise,
here concatenated with the features instead of added. Colours are RGB in [-1, 1].

Parameter names and shapes are those of the published checkpoint.
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
"""Channels at 4, 8, ... 512 pixels, in the encoder and in the generator."""
_LEVELS = len(_CHANNELS)
_RATE = 0.01
"""Learning rate multiplier of the mapping network."""
_EPSILON = 1e-8


class StyleConvolution(ModulatedConvolution):
    """A modulated convolution with equalised learning rate; with ``enlarge`` it doubles height and width."""

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
        """[B, inputs, h, w] -> [B, outputs, h, w], or [B, outputs, 2h, 2w] with ``enlarge``."""
        if not self._enlarge:
            return super().convolve(x)
        out = functional.conv_transpose2d(x, self.weight[0].transpose(0, 1), stride=2)  # 2h + 1
        return self.blur.smooth(out, padding=1)


class FeatureStrength(nn.Module):
    """The learned strength of the encoder's features."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class StyledLayer(nn.Module):
    """Modulated convolution, concatenation of the encoder's features, bias and leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, *, enlarge: bool) -> None:
        super().__init__()
        self.conv = StyleConvolution(inputs, outputs, 3, enlarge=enlarge)
        self.noise = FeatureStrength()
        self.activate = Bias(2 * outputs)

    def forward(self, x: Tensor, code: Tensor, features: Tensor) -> Tensor:
        """[B, inputs, h, w], codes [B, 512], features [B, outputs, h', w'] -> [B, 2 outputs, h', w']."""
        return self.activate(torch.cat((self.conv(x, code), self.noise.weight * features), 1))


class ToColours(nn.Module):
    """Modulated 1 x 1 convolution to three colours, added to the enlarged colours of the previous level."""

    def __init__(self, inputs: int, *, first: bool = False) -> None:
        super().__init__()
        if not first:
            self.upsample = LowPass(4)
        self.conv = StyleConvolution(inputs, 3, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, code: Tensor, colours: Tensor | None) -> Tensor:
        """[B, inputs, h, w], codes [B, 512], colours [B, 3, h/2, w/2] or None -> [B, 3, h, w]."""
        out = self.conv(x, code) + self.bias
        return out if colours is None else out + self.upsample.upsample(colours)


class ConstantInput(nn.Module):
    """The learned 4 x 4 features that every face starts from."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, _CHANNELS[0], 4, 4))


class PixelNorm(nn.Module):
    """Scale codes [B, 512] to unit mean square."""

    def forward(self, code: Tensor) -> Tensor:
        return code * torch.rsqrt(code.square().mean(1, keepdim=True) + _EPSILON)


class Generator(nn.Module):
    """Generate a face from a code and the encoder's features."""

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
        """Return faces [B, 3, 512, 512] from the encoder's codes [B, 512] and features at 4, 8, ... 512 pixels."""
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
    """The encoder and the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = Generator()
        self.ecd0 = nn.Sequential(EncoderLayer(3, _CHANNELS[-1], 1, downsample=False))
        for step in range(1, _LEVELS):
            inputs, outputs = _CHANNELS[-step], _CHANNELS[-step - 1]
            self.add_module(f"ecd{step}", nn.Sequential(EncoderLayer(inputs, outputs, 3, downsample=True)))
        self.final_linear = nn.Sequential(EqualLinear(_CHANNELS[0] * 4 * 4, CODE_SIZE, activated=True))

    def forward(self, faces: Tensor) -> Tensor:
        """Return restored faces [B, 3, 512, 512], not clipped, of faces [B, 3, 512, 512], RGB in [-1, 1]."""
        features: list[Tensor] = []
        x = faces
        for step in range(_LEVELS):
            x = self.get_submodule(f"ecd{step}")(x)
            features.append(x)
        return self.generator(self.final_linear(x.flatten(1)), features[::-1])


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return name and shape of each parameter and filter of the network."""
    return state_shapes(Gpen)
