"""GFPGAN v1 without custom operators: a damaged face of 512 x 512 becomes a sharp one.

Wang et al., "Towards real-world blind face restoration with generative facial prior", CVPR 2021. A U-Net removes
damage; from its middle come the codes of a StyleGAN2 generator, from its way up a factor and a summand for half of the
generator's channels (section 3.4). Colours are in the order red, green, blue, in [-1, 1].

Parameter names and shapes are those of the published checkpoint. What it holds besides, for training or other uses
(``toRGB``, ``style_mlp``, ``noises``), is kept and never computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.convolutions.doubling import doubled, doubled_convolution
from retalkit_enhancers.convolutions.fast import Convolution, laid_out
from retalkit_enhancers.enet.network import DownBlock
from retalkit_enhancers.gfpgan.generator import CHANNELS, CODE_SIZE, LEVELS, Generator, StyleConvolution
from retalkit_enhancers.restoration.modulation import SLOPE

SIZE = 512
_CODES = 2 * LEVELS
_HALF = tuple(channels // 2 for channels in CHANNELS)
"""Channels of the U-Net's pictures of 4, 8, ... 512 pixels."""


class UpBlock(nn.Module):
    """Two convolutions with a shortcut; doubles height and width."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        """``size``: height and width of what comes in."""
        super().__init__()
        self.conv1 = Convolution(inputs, inputs, large=size >= 32)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        """[B, inputs, h, w] to [B, outputs, 2h, 2w]."""
        inner = functional.leaky_relu_(self.conv1(values), SLOPE)
        inner = functional.leaky_relu_(doubled_convolution(inner, self.conv2.weight, self.conv2.bias), SLOPE)
        # Mixing channels and doubling may change places.
        inner += doubled(self.skip(values))
        return inner


def _condition(channels: int, size: int) -> nn.Sequential:
    large = size >= 32
    return nn.Sequential(
        Convolution(channels, channels, large=large),
        nn.LeakyReLU(SLOPE, inplace=True),
        Convolution(channels, channels, large=large),
    )


class Gfpgan(nn.Module):
    """The U-Net and the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_body_first = nn.Conv2d(3, _HALF[-1], 1)
        self.conv_body_down = nn.ModuleList()
        self.conv_body_up = nn.ModuleList()
        self.toRGB = nn.ModuleList()
        self.condition_scale = nn.ModuleList()
        self.condition_shift = nn.ModuleList()
        for level in range(1, LEVELS):
            above, here, size = _HALF[level - 1], _HALF[level], 4 << level
            self.conv_body_down.insert(0, DownBlock(here, above, size))
            self.conv_body_up.append(UpBlock(above, here, size // 2))
            self.toRGB.append(nn.Conv2d(here, 3, 1))
            self.condition_scale.append(_condition(here, size))
            self.condition_shift.append(_condition(here, size))
        self.final_conv = nn.Conv2d(_HALF[0], _HALF[0], 3, padding=1)
        self.final_linear = nn.Linear(_HALF[0] * 4 * 4, _CODES * CODE_SIZE)
        self.stylegan_decoder = Generator()

    def arrange(self) -> Self:
        """Makes weights ready for their device. Call it after loading; without it they work, slower."""
        for module in self.modules():
            if isinstance(module, Convolution | StyleConvolution):
                module.arrange()
        return self

    @property
    def is_noisy(self) -> bool:
        """Whether any strength of noise is not 0, so that ``forward`` needs some."""
        return any(float(layer.weight.detach()) != 0 for layer in self.stylegan_decoder.styled)

    def encode(self, faces: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Codes [B, 16, 512] of faces [B, 3, 512, 512], and for 8, 16, ... 512 pixels a factor and a summand.

        Both have half of the generator's channels.
        """
        values = functional.leaky_relu_(self.conv_body_first(laid_out(faces)), SLOPE)
        levels: list[Tensor] = []
        for block in self.conv_body_down:
            values = block(values)
            levels.append(values)
        values = functional.leaky_relu_(self.final_conv(values), SLOPE)
        codes = self.final_linear(values.flatten(1)).unflatten(1, (_CODES, CODE_SIZE))
        conditions: list[tuple[Tensor, Tensor]] = []
        steps = zip(reversed(levels), self.conv_body_up, self.condition_scale, self.condition_shift, strict=True)
        for same, block, scale, shift in steps:
            values = block(values + same)
            conditions.append((scale(values), shift(values)))
        return codes, conditions

    def forward(self, faces: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Restored faces [B, 3, 512, 512], not clipped, of [B, 3, 512, 512], red first, in [-1, 1].

        ``noise``: fifteen times [B, 1, n, n] standard normal, n as in ``NOISE_SIZES``; None: no noise.
        """
        codes, conditions = self.encode(faces)
        return self.stylegan_decoder(codes, conditions, noise)


def empty_network() -> Gfpgan:
    """Without numbers: to draw random ones takes longer than to read them."""
    with torch.device("meta"):
        network = Gfpgan()
    return network.to_empty(device="cpu")


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's parameters and of the noise that the checkpoint holds."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in Gfpgan().state_dict().items()}
