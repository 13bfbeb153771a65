"""E-Net of VideoReTalking: a face of 96 x 96 becomes one of 384 x 384.

Cheng et al., SIGGRAPH Asia 2022, section 3.3. An encoder reads who the person is from the reference face; a decoder of
two StyleGAN2 levels draws the face around the low-resolution one. Colours are in the order blue, green, red, in [0, 1].
L-Net, which the published module runs inside, is a stage of its own here: its result comes in.

Parameter names and shapes are those of the published checkpoint without ``low_res``. The arithmetic is another one,
with the same result up to rounding: weights are modulated once for an identity, the upsampling convolution skips
zeros, no border is computed that the published network cuts away at the end, and large convolutions on a processor take
a quarter of the products (``winograd``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.convolutions.doubling import upsampled_convolution
from retalkit_enhancers.convolutions.fast import Convolution, Kernel, convolve, laid_out, ready
from retalkit_enhancers.enet.modulation import CODE_SIZE, SLOPE, StyledConvolution, ToColours

LOW_SIZE = 96
SIZE = 384
NOISE_SIZES = (200, 200, 400, 400)
"""Height and width of the noise of each styled convolution, with the published padding around the face."""
_READ_SIZE = 256
_DOWN = ((256, 256), (256, 512), (512, 512), (512, 512), (512, 512), (512, 512))
"""Channels of the encoder's blocks: 256 pixels at the first one's entry, 4 at the last one's exit."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Weights of the decoder for one reference face."""

    styled: tuple[Kernel, ...]
    """Of the four styled convolutions."""
    colours: tuple[Tensor, ...]
    """Twice [3, inputs, 1, 1]."""


class DownBlock(nn.Module):
    """Two convolutions with a shortcut; halves height and width."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        """``size``: height and width of what comes in."""
        super().__init__()
        self.conv1 = Convolution(inputs, inputs, large=size >= 32)
        self.conv2 = Convolution(inputs, outputs, large=size >= 64)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        """[T, inputs, h, w] to [T, outputs, h/2, w/2]. The mean of 2 x 2 pixels is bilinear halving."""
        inner = functional.leaky_relu_(self.conv1(values), SLOPE)
        inner = functional.leaky_relu_(self.conv2(functional.avg_pool2d(inner, 2)), SLOPE)
        inner += self.skip(functional.avg_pool2d(values, 2))
        return inner


class ENet(nn.Module):
    """The identity encoder and the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_body_first = nn.Conv2d(3, 256, 1)
        self.conv_body_down = nn.ModuleList(
            DownBlock(*channels, size=_READ_SIZE >> level) for level, channels in enumerate(_DOWN)
        )
        self.final_conv = nn.Conv2d(512, 512, 3, padding=1)
        self.final_linear = nn.Linear(512 * 4 * 4, CODE_SIZE)
        self.style_convs = nn.ModuleList(
            StyledConvolution(*channels) for channels in ((3, 256), (256, 256), (256, 128), (128, 128))
        )
        self.to_rgbs = nn.ModuleList(ToColours(channels) for channels in (256, 128))

    def arrange(self) -> Self:
        """Makes the encoder's weights ready for its device. Call it after loading; without it they work, slower."""
        for module in self.modules():
            if isinstance(module, Convolution):
                module.arrange()
        return self

    @property
    def is_noisy(self) -> bool:
        """Whether any strength of noise is not 0, so that ``decode`` needs some."""
        return any(float(layer.weight) != 0 for layer in self._styled)

    def encode(self, reference: Tensor) -> Tensor:
        """Identity codes [T, 512] of reference faces [T, 3, h, w], blue first, in [0, 1]."""
        values = functional.interpolate(reference, size=(_READ_SIZE, _READ_SIZE), mode="bilinear", align_corners=False)
        values = functional.leaky_relu_(self.conv_body_first(laid_out(values)), SLOPE)
        for block in self.conv_body_down:
            values = block(values)
        values = functional.leaky_relu_(self.final_conv(values), SLOPE)
        return self.final_linear(values.flatten(1))

    def fold(self, code: Tensor) -> Identity:
        """The decoder's weights for one identity code [512]."""
        return Identity(
            # The third goes another way (``upsampled_convolution``).
            tuple(ready(layer.fold(code), large=index != 2) for index, layer in enumerate(self._styled)),
            tuple(layer.fold(code) for layer in self._colours),
        )

    def decode(self, low: Tensor, identity: Identity, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Faces [T, 3, 384, 384], not clipped, from low-resolution ones [T, 3, 96, 96] of one identity.

        ``noise``: four times [T, 1, n, n] standard normal, n as in ``NOISE_SIZES``; None: no noise.

        The face is padded to 100 pixels; at 400 pixels 8 are cut off again on every side. What is computed here are
        rows (and columns) 1 to 198, then 2 to 197 of 200, then 7 to 392 and 8 to 391 of 400.
        """
        first, second, third, fourth = self._styled
        weights = identity.styled
        noises = _inner_noises(noise)
        small = functional.pad(low, (2, 2, 2, 2), "reflect")
        doubled = _doubled(small)  # 200
        values = convolve(laid_out(doubled), weights[0], first.bias.flatten())
        values = first.finish(values, noises[0])  # 198
        values = convolve(values, weights[1], second.bias.flatten())
        values = second.finish(values, noises[1])  # 196
        colours = functional.conv2d(values, identity.colours[0]) + self._colours[0].bias
        colours = (colours + doubled[..., 2:-2, 2:-2])[..., 1:-1, 1:-1]  # 194
        values = upsampled_convolution(values, weights[2].weight, third.bias.flatten())
        values = third.finish(values, noises[2])  # 386
        values = convolve(values, weights[3], fourth.bias.flatten())
        values = fourth.finish(values, noises[3])  # 384
        result = functional.conv2d(values, identity.colours[1]) + self._colours[1].bias
        return result + _doubled(colours)[..., 2:-2, 2:-2]

    def forward(self, low: Tensor, reference: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Faces [T, 3, 384, 384] from low-resolution ones [T, 3, 96, 96], each with its own reference [T, 3, h, w]."""
        faces = [
            self.decode(
                low[row : row + 1],
                self.fold(code),
                None if noise is None else [each[row : row + 1] for each in noise],
            )
            for row, code in enumerate(self.encode(reference))
        ]
        return torch.cat(faces) if faces else low.new_empty(0, 3, SIZE, SIZE)

    @property
    def _styled(self) -> list[StyledConvolution]:
        return [layer for layer in self.style_convs if isinstance(layer, StyledConvolution)]

    @property
    def _colours(self) -> list[ToColours]:
        return [layer for layer in self.to_rgbs if isinstance(layer, ToColours)]


def empty_network() -> ENet:
    """Without numbers: to draw random ones takes longer than to read them."""
    with torch.device("meta"):
        network = ENet()
    return network.to_empty(device="cpu")


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's parameters."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in ENet().state_dict().items()}


def _doubled(values: Tensor) -> Tensor:
    return functional.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)


def _inner_noises(noise: Sequence[Tensor] | None) -> list[Tensor | None]:
    """The parts of the noise that fall on what ``decode`` computes."""
    if noise is None:
        return [None] * len(NOISE_SIZES)
    return [each[..., cut:-cut, cut:-cut] for each, cut in zip(noise, (1, 2, 7, 8), strict=True)]
