"""IR-SE50 face recognition network, which computes unit-length identity embeddings of 112 x 112 faces.

References: Deng et al., "ArcFace: additive angular margin loss for deep face recognition", CVPR 2019 (improved residual
units); Hu et al., "Squeeze-and-excitation networks", CVPR 2018. Parameter names match those of the facexlib checkpoint.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE: Final = 112
"""Width and height of the input in pixels."""
EMBEDDING: Final = 512

_STAGES: Final = ((64, 3), (128, 4), (256, 14), (512, 3))
"""Number of channels and number of units in each stage. Each stage's first unit halves the size, to 56, 28, 14 and 7
pixels.
"""
_REDUCTION: Final = 16


class _Excitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _REDUCTION, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(weights)


class _Unit(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if channels == out:
            # Select every second pixel.
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, out, 3, 1, 1, bias=False),
            nn.PReLU(out),
            nn.Conv2d(out, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            _Excitation(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class FaceRecogniser(nn.Module):
    """Network that maps faces [B, 3, 112, 112], BGR in [-1, 1], to unit vectors [B, 512]."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        units: list[nn.Module] = []
        channels = 64
        for out, count in _STAGES:
            for index in range(count):
                units.append(_Unit(channels, out, 2 if index == 0 else 1))
                channels = out
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            # This layer replaces the dropout layer of the training code.
            nn.Identity(),
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, EMBEDDING),
            nn.BatchNorm1d(EMBEDDING),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.output_layer(self.body(self.input_layer(x))))


def empty_network() -> FaceRecogniser:
    """Return the network with uninitialised parameters."""
    with torch.device("meta"):
        network = FaceRecogniser()
    return network.to_empty(device="cpu")


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return each checkpoint entry's name and shape."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in FaceRecogniser().state_dict().items()}
