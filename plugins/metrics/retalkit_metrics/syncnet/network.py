"""SyncNet: lips and sound as points of one space, near where they belong together.

Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV Workshops 2016, in the form of the file
``syncnet_v2.model``, whose names it has.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

SIZE: Final = 224
"""Pixels a side of a crop."""
FRAMES: Final = 5
"""Frames that the network sees at once, at 25 a second."""
STEPS: Final = 20
"""Steps of the cepstrum that belong to them, at 100 a second."""
EMBEDDING: Final = 1024


def _flat(channels: int, out: int, kernel: int | tuple[int, int], padding: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, kernel, padding=padding), nn.BatchNorm2d(out), nn.ReLU()]


def _deep(channels: int, out: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0) -> list[nn.Module]:
    # Time is left as it is by all but the first, which makes one step of five frames.
    convolution = nn.Conv3d(channels, out, kernel, (1, stride, stride), (0, padding, padding))
    return [convolution, nn.BatchNorm3d(out), nn.ReLU()]


def _pool(padding: int = 0) -> nn.Module:
    return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, padding, padding))


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING))


class SyncNet(nn.Module):
    """Two networks that never meet: call ``lips`` and ``sound``."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_flat(1, 64, 3),
            nn.MaxPool2d(1),
            *_flat(64, 192, 3),
            nn.MaxPool2d(3, (1, 2)),
            *_flat(192, 384, 3),
            *_flat(384, 256, 3),
            *_flat(256, 256, 3),
            nn.MaxPool2d(3, 2),
            *_flat(256, 512, (5, 4), padding=0),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_deep(3, 96, (FRAMES, 7, 7), stride=2),
            _pool(),
            *_deep(96, 256, (1, 5, 5), stride=2, padding=1),
            _pool(padding=1),
            *_deep(256, 256, (1, 3, 3), padding=1),
            *_deep(256, 256, (1, 3, 3), padding=1),
            *_deep(256, 256, (1, 3, 3), padding=1),
            _pool(),
            *_deep(256, 512, (1, 6, 6)),
        )

    def lips(self, crops: Tensor) -> Tensor:
        """Crops [3, T, 224, 224] of consecutive frames, channels blue, green, red, 0 to 255 -> [T - 4, 1024], one for
        every five frames. The network has no step in time but its first, so the windows are computed together."""
        features = self.netcnnlip(crops[None])  # [1, 512, T - 4, 1, 1]
        return self.netfclip(features[0, :, :, 0, 0].T)

    def sound(self, cepstra: Tensor) -> Tensor:
        """Windows [B, 13, 20] of cepstra -> [B, 1024]."""
        return self.netfcaud(self.netcnnaud(cepstra[:, None]).flatten(1))


def empty_network() -> SyncNet:
    """The network with memory for its parameters and no values in it."""
    with torch.device("meta"):
        network = SyncNet()
    return network.to_empty(device="cpu")


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of everything in the checkpoint."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in SyncNet().state_dict().items()}
