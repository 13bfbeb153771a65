"""LPIPS v0.1 with AlexNet: a learned distance of two pictures.

Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018, equation 1. Names are
those of the published files: torchvision's ``features.*`` and ``lin0.model.1.weight`` to ``lin4``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn

_MEAN: Final = (-0.030, -0.088, -0.188)
_DEVIATION: Final = (0.458, 0.448, 0.450)
"""Of red, green, blue in [-1, 1]: ImageNet's. Version 0.0 left this step out."""
_WIDTHS: Final = (64, 192, 384, 256, 256)
_EPSILON: Final = 1e-10


class AlexNetFeatures(nn.Module):
    """The convolutions of torchvision's AlexNet (Krizhevsky, "One weird trick for parallelizing convolutional neural
    networks", 2014)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        """What comes out of each of the five rectifiers, of pictures [B, 3, H, W]."""
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                yield x


class _Weighted(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        # A dropout stood first when it was trained.
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class LinearLayers(nn.Module):
    """How much each channel of each of the five layers counts."""

    def __init__(self) -> None:
        super().__init__()
        for index, width in enumerate(_WIDTHS):
            self.add_module(f"lin{index}", _Weighted(width))

    def forward(self, differences: Iterator[Tensor]) -> Tensor:
        """Squared differences [B, C, h, w] of each layer -> [B]: the distance."""
        layers = self.children()
        return sum((layer(d).mean((1, 2, 3)) for layer, d in zip(layers, differences, strict=True)), torch.tensor(0.0))


def distance(features: AlexNetFeatures, linear: LinearLayers, one: Tensor, other: Tensor) -> Tensor:
    """LPIPS of pictures [B, 3, H, W], RGB in [-1, 1], at least 64 pixels a side -> [B]; 0 for equal ones."""
    pairs = zip(features(_scaled(one)), features(_scaled(other)), strict=True)
    return linear((_unit(a) - _unit(b)) ** 2 for a, b in pairs)


def _scaled(picture: Tensor) -> Tensor:
    mean = picture.new_tensor(_MEAN)[:, None, None]
    return (picture - mean) / picture.new_tensor(_DEVIATION)[:, None, None]


def _unit(x: Tensor) -> Tensor:
    return x / (torch.sqrt((x * x).sum(1, keepdim=True)) + _EPSILON)


def empty_features() -> AlexNetFeatures:
    """The network with memory for its parameters and no values in it."""
    with torch.device("meta"):
        network = AlexNetFeatures()
    return network.to_empty(device="cpu")


def empty_linear() -> LinearLayers:
    """The layers with memory for their parameters and no values in it."""
    with torch.device("meta"):
        network = LinearLayers()
    return network.to_empty(device="cpu")


def feature_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of all that is taken of AlexNet's checkpoint; its classifier is not."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in AlexNetFeatures().state_dict().items()}


def linear_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of everything in the checkpoint of LPIPS itself."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in LinearLayers().state_dict().items()}
