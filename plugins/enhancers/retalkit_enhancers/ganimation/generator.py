"""GANimation: a face moves single muscles.

Pumarola et al., "GANimation: anatomically-aware facial animation from a single image", ECCV 2018, with the parameter
names and the constants of the replication that VideoReTalking uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.convolutions.fast import Convolution
from retalkit_enhancers.ganimation.emotions import UNITS

SIZE = 128


@dataclass(frozen=True, slots=True)
class Animated:
    """What the generator draws; all over [T, ..., 128, 128]."""

    colours: Tensor
    """[T, 3] in [-1, 1]: the moved face."""
    kept: Tensor
    """[T, 1] in [0, 1]: how much of the given face stays."""
    features: Tensor
    """[T, 64]: what both were made of."""

    def over(self, faces: Tensor) -> Tensor:
        """[T, 3] in [-1, 1]: the moved face put into the given one."""
        return self.kept * faces + (1 - self.kept) * self.colours


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            Convolution(channels, channels, large=True),
            nn.InstanceNorm2d(channels),
            nn.ReLU(inplace=True),
            Convolution(channels, channels, large=True),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, values: Tensor) -> Tensor:
        """[T, channels, h, w] to the same."""
        return values + self.conv_block(values)


class Generator(nn.Module):
    """Half and half again, six blocks, double and double again; then colours and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            *_activated(nn.Conv2d(3 + len(UNITS), 64, 7, padding=3), 64),
            *_activated(nn.Conv2d(64, 128, 4, 2, 1), 128),
            *_activated(nn.Conv2d(128, 256, 4, 2, 1), 256),
            *(ResidualBlock(256) for _ in range(6)),
            *_activated(nn.ConvTranspose2d(256, 128, 4, 2, 1), 128),
            *_activated(nn.ConvTranspose2d(128, 64, 4, 2, 1), 64),
        )
        self.color_top = nn.Sequential(nn.Conv2d(64, 3, 7, padding=3, bias=False))
        self.au_top = nn.Sequential(nn.Conv2d(64, 1, 7, padding=3, bias=False))

    def forward(self, faces: Tensor, units: Tensor) -> Animated:
        """``faces`` [T, 3, 128, 128] in [-1, 1], blue first; ``units`` [T, 17] in [0, 1]: how strong each of ``UNITS``
        is."""
        return self.animate(faces, self.respond(units))

    def respond(self, units: Tensor) -> Tensor:
        """[T, 64, 128, 128]: what the first layer makes of the units, which the face does not change."""
        planes = units[:, :, None, None].expand(-1, -1, SIZE, SIZE)
        return functional.conv2d(planes, self._first.weight[:, 3:], padding=3)

    def animate(self, faces: Tensor, response: Tensor) -> Animated:
        """The same as calling the generator with the units of ``response``."""
        first = functional.conv2d(faces, self._first.weight[:, :3], self._first.bias, padding=3)
        features = self.model[1:](first + response)
        # Both ends read the same features: one convolution costs half of two.
        ends = torch.cat([*self.color_top.parameters(), *self.au_top.parameters()])
        drawn = functional.conv2d(features, ends, padding=3)
        return Animated(torch.tanh(drawn[:, :3]), torch.sigmoid(drawn[:, 3:]), features)

    def arrange(self) -> Self:
        """Makes weights ready for their device. Call it after loading; without it they work, slower."""
        for module in self.modules():
            if isinstance(module, Convolution):
                module.arrange()
        return self

    @property
    def _first(self) -> nn.Conv2d:
        first = self.model[0]
        assert isinstance(first, nn.Conv2d)
        return first


def empty_generator() -> Generator:
    """Without numbers: to draw random ones takes longer than to read them."""
    with torch.device("meta"):
        generator = Generator()
    return generator.to_empty(device="cpu")


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the generator's parameters."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in Generator().state_dict().items()}


def _activated(convolution: nn.Module, channels: int) -> tuple[nn.Module, ...]:
    return convolution, nn.InstanceNorm2d(channels), nn.ReLU(inplace=True)
