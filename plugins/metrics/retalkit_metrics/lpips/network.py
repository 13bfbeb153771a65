"""LPIPS v0.1 with AlexNet, a learned perceptual distance between two images.

Reference: Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018, equation
1. Parameter names match the published checkpoints, which are torchvision's ``features.*`` and the LPIPS entries
``lin0.model.1.weight`` to ``lin4.model.1.weight``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn

_MEAN: Final = (-0.030, -0.088, -0.188)
_DEVIATION: Final = (0.458, 0.448, 0.450)
"""ImageNet means and standard deviations of the RGB channels for pixel values in [-1, 1]. LPIPS version 0.0 omitted
this normalisation.
"""
_WIDTHS: Final = (64, 192, 384, 256, 256)
_EPSILON: Final = 1e-10


class AlexNetFeatures(nn.Module):
    """Convolutional layers of torchvision's AlexNet.

    Reference: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.
    """

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
        """Yield the output of each of the five ReLUs for images [B, 3, H, W]."""
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                yield x


class _LinearLayer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        # The identity layer replaces the dropout layer of the training code.
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class LinearLayers(nn.Module):
    """Channel weights for the five layers."""

    def __init__(self) -> None:
        super().__init__()
        for index, width in enumerate(_WIDTHS):
            self.add_module(f"lin{index}", _LinearLayer(width))

    def forward(self, differences: Iterator[Tensor]) -> Tensor:
        """Return the distance [B], computed from the squared differences [B, C, h, w] of each layer."""
        layers = self.children()
        return sum((layer(d).mean((1, 2, 3)) for layer, d in zip(layers, differences, strict=True)), torch.tensor(0.0))


def distance(features: AlexNetFeatures, linear: LinearLayers, one: Tensor, other: Tensor) -> Tensor:
    """Return the LPIPS distance [B] between images [B, 3, H, W], RGB in [-1, 1], at least 64 pixels wide and high."""
    pairs = zip(features(_normalise(one)), features(_normalise(other)), strict=True)
    return linear((_unit_length(a) - _unit_length(b)) ** 2 for a, b in pairs)


def _normalise(images: Tensor) -> Tensor:
    mean = images.new_tensor(_MEAN)[:, None, None]
    return (images - mean) / images.new_tensor(_DEVIATION)[:, None, None]


def _unit_length(x: Tensor) -> Tensor:
    return x / (torch.sqrt((x * x).sum(1, keepdim=True)) + _EPSILON)


def empty_features() -> AlexNetFeatures:
    """Return the network with uninitialised parameters."""
    with torch.device("meta"):
        network = AlexNetFeatures()
    return network.to_empty(device="cpu")


def empty_linear() -> LinearLayers:
    """Return the linear layers with uninitialised parameters."""
    with torch.device("meta"):
        network = LinearLayers()
    return network.to_empty(device="cpu")


def feature_shapes() -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each AlexNet checkpoint entry that is loaded. The classifier's entries are not
    loaded.
    """
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in AlexNetFeatures().state_dict().items()}


def linear_shapes() -> dict[str, tuple[int, ...]]:
    """Return each LPIPS checkpoint entry's name and shape."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in LinearLayers().state_dict().items()}
