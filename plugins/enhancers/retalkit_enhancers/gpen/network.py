"""GPEN-BFR-512: a damaged face of 512 x 512 becomes a sharp one.

Yang et al., "GAN prior embedded network for blind face restoration in the wild", CVPR 2021. An encoder halves the face
seven times; its last level gives the code of a StyleGAN2 generator, and each level stands where the generator would add
noise, here beside the features instead of on top of them. Colours are in the order red, green, blue, in [-1, 1].

Parameter names and shapes are those of the published checkpoint.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.convolutions.fast import laid_out
from retalkit_enhancers.gpen.layers import CODE_SIZE, GAIN, Bias, EncoderLayer, EqualLinear, LowPass
from retalkit_enhancers.restoration.modulation import SLOPE, ModulatedConvolution

SIZE = 512
_CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64)
"""Of the pictures of 4, 8, ... 512 pixels, in the encoder and in the generator."""
_LEVELS = len(_CHANNELS)
_RATE = 0.01
"""Of the layers between the encoder's code and the generator's."""
_EPSILON = 1e-8
_LARGE = 32
"""Height and width from which it pays to arrange a kernel."""


class StyleConvolution(ModulatedConvolution):
    """A modulated convolution that doubles height and width where it has a filter."""

    def __init__(self, inputs: int, outputs: int, size: int, *, doubling: bool = False) -> None:
        gain = 1 / math.sqrt(inputs * size**2)
        super().__init__(EqualLinear(CODE_SIZE, inputs), inputs, outputs, size, gain)
        if doubling:
            self.blur = LowPass()

    def spread(self, values: Tensor) -> Tensor:
        """[B, inputs, h, w], scaled already, to [B, outputs, 2h, 2w]."""
        sparse = functional.conv_transpose2d(values, self.weight[0].transpose(0, 1), stride=2)  # 2h + 1
        return self.blur.smooth(sparse, padding=1)


class Strength(nn.Module):
    """How strongly the encoder's features count."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1))


class StyledLayer(nn.Module):
    """A modulated convolution with the encoder's features beside its result, a bias, a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, *, doubling: bool) -> None:
        """``size``: height and width of the result."""
        super().__init__()
        self._doubling, self._large = doubling, size >= _LARGE
        self.conv = StyleConvolution(inputs, outputs, 3, doubling=doubling)
        self.noise = Strength()
        self.activate = Bias(2 * outputs)

    def arrange(self) -> None:
        """Makes large kernels ready."""
        if self._large and not self._doubling:
            self.conv.arrange()

    def forward(self, values: Tensor, code: Tensor, features: Tensor) -> Tensor:
        """[B, inputs, h, w], codes [B, 512], features [B, outputs, h', w'] to [B, 2 outputs, h', w']."""
        scales = self.conv.scales(code)
        values = values * scales[..., None, None]
        drawn = self.conv.spread(values) if self._doubling else self.conv.plain(values)
        # The factor behind the leaky ReLU may stand before it.
        first, second = (self.activate.bias * GAIN)[:, None, None].chunk(2)
        # Both write into the result: parts that are joined afterwards would be moved once more.
        batch, channels, height, width = drawn.shape
        result = drawn.new_empty(batch, height, width, 2 * channels).permute(0, 3, 1, 2)
        left, right = result.split(channels, 1)
        torch.addcmul(first, drawn, self.conv.demodulation(scales) * GAIN, out=left)
        torch.addcmul(second, features, (self.noise.weight * GAIN)[:, None, None], out=right)
        return functional.leaky_relu_(result, SLOPE)


class ToColours(nn.Module):
    """A modulated 1 x 1 convolution to three colours, on top of the doubled colours of the level before."""

    def __init__(self, inputs: int, *, first: bool = False) -> None:
        super().__init__()
        if not first:
            self.upsample = LowPass()
        self.conv = StyleConvolution(inputs, 3, 1)
        self.bias = nn.Parameter(torch.empty(1, 3, 1, 1))

    def forward(self, values: Tensor, code: Tensor, colours: Tensor | None) -> Tensor:
        """[B, inputs, h, w], codes [B, 512], colours [B, 3, h/2, w/2] to [B, 3, h, w]."""
        result = self.conv.mixed(values, self.conv.scales(code)) + self.bias
        return result if colours is None else result + self.upsample.enlarged(colours)


class Start(nn.Module):
    """The learned picture of 4 x 4 that every face starts from."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.empty(1, _CHANNELS[0], 4, 4))


class Normalised(nn.Module):
    """Brings codes [B, 512] to unit mean square."""

    def forward(self, code: Tensor) -> Tensor:
        """[B, 512]"""
        return code * torch.rsqrt(code.square().mean(1, keepdim=True) + _EPSILON)


class Generator(nn.Module):
    """Draws a face from a code and the encoder's features."""

    def __init__(self) -> None:
        super().__init__()
        layers = [EqualLinear(CODE_SIZE, CODE_SIZE, _RATE, activated=True) for _ in range(8)]
        self.style = nn.Sequential(Normalised(), *layers)
        self.input = Start()
        self.conv1 = StyledLayer(_CHANNELS[0], _CHANNELS[0], 4, doubling=False)
        self.to_rgb1 = ToColours(2 * _CHANNELS[0], first=True)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for level in range(1, _LEVELS):
            inputs, outputs = 2 * _CHANNELS[level - 1], _CHANNELS[level]
            self.convs.append(StyledLayer(inputs, outputs, 4 << level, doubling=True))
            self.convs.append(StyledLayer(2 * outputs, outputs, 4 << level, doubling=False))
            self.to_rgbs.append(ToColours(2 * outputs))

    def forward(self, code: Tensor, features: list[Tensor]) -> Tensor:
        """[B, 3, 512, 512] from the encoder's codes [B, 512] and features of 4, 8, ... 512 pixels."""
        code = self.style(code)
        values = self.input.input.expand(len(code), -1, -1, -1)
        values = self.conv1(values, code, features[0])
        colours = self.to_rgb1(values, code, None)
        steps = zip(self.convs[::2], self.convs[1::2], self.to_rgbs, features[1:], strict=True)
        for enlarge, refine, to_colours, beside in steps:
            values = refine(enlarge(values, code, beside), code, beside)
            colours = to_colours(values, code, colours)
        return colours


class Gpen(nn.Module):
    """The encoder and the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = Generator()
        self.ecd0 = nn.Sequential(EncoderLayer(3, _CHANNELS[-1], 1, halved=False))
        for step in range(1, _LEVELS):
            inputs, outputs = _CHANNELS[-step], _CHANNELS[-step - 1]
            self.add_module(f"ecd{step}", nn.Sequential(EncoderLayer(inputs, outputs, 3, halved=True)))
        self.final_linear = nn.Sequential(EqualLinear(_CHANNELS[0] * 4 * 4, CODE_SIZE, activated=True))

    def arrange(self) -> Self:
        """Makes weights ready for their device. Call it after loading; without it they work, slower."""
        for module in self.modules():
            if isinstance(module, StyledLayer):
                module.arrange()
        return self

    def forward(self, faces: Tensor) -> Tensor:
        """Restored faces [B, 3, 512, 512], not clipped, of [B, 3, 512, 512], red first, in [-1, 1]."""
        features: list[Tensor] = []
        values = laid_out(faces)
        for step in range(_LEVELS):
            values = self.get_submodule(f"ecd{step}")(values)
            features.append(values)
        return self.generator(self.final_linear(values.flatten(1)), features[::-1])


def empty_network() -> Gpen:
    """Without numbers: to draw random ones takes longer than to read them."""
    with torch.device("meta"):
        network = Gpen()
    return network.to_empty(device="cpu")


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's parameters and filters."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in Gpen().state_dict().items()}
