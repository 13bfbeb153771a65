"""SyncNet, which maps lips and audio to a joint embedding space, in which synchronous lips and audio have similar
embeddings.

Reference: Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV Workshops 2016. Layers and parameter
names match the checkpoint ``syncnet_v2.model``.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

SIZE: Final = 224
"""Width and height of a crop in pixels."""
FRAMES: Final = 5
"""Number of frames per window, at 25 frames per second."""
STEPS: Final = 20
"""Number of MFCC time steps per window, at 100 time steps per second."""
EMBEDDING: Final = 1024


def _conv2d(channels: int, out: int, kernel: int | tuple[int, int], padding: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, kernel, padding=padding), nn.BatchNorm2d(out), nn.ReLU()]


def _conv3d(
    channels: int, out: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    # Only the first layer convolves over time. It reduces five frames to one time step.
    convolution = nn.Conv3d(channels, out, kernel, (1, stride, stride), (0, padding, padding))
    return [convolution, nn.BatchNorm3d(out), nn.ReLU()]


def _pool(padding: int = 0) -> nn.Module:
    return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, padding, padding))


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING))


class SyncNet(nn.Module):
    """Separate lip and audio networks, which the methods ``lips`` and ``sound`` evaluate."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, 64, 3),
            nn.MaxPool2d(1),
            *_conv2d(64, 192, 3),
            nn.MaxPool2d(3, (1, 2)),
            *_conv2d(192, 384, 3),
            *_conv2d(384, 256, 3),
            *_conv2d(256, 256, 3),
            nn.MaxPool2d(3, 2),
            *_conv2d(256, 512, (5, 4), padding=0),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, 96, (FRAMES, 7, 7), stride=2),
            _pool(),
            *_conv3d(96, 256, (1, 5, 5), stride=2, padding=1),
            _pool(padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            _pool(),
            *_conv3d(256, 512, (1, 6, 6)),
        )

    def lips(self, crops: Tensor) -> Tensor:
        """Return the embeddings [T - 4, 1024] of all windows of five consecutive crops.

        ``crops``: [3, T, 224, 224], BGR values from 0 to 255. Only the first layer convolves over time, so all windows
        are computed in one pass.
        """
        features = self.netcnnlip(crops[None])  # [1, 512, T - 4, 1, 1]
        return self.netfclip(features[0, :, :, 0, 0].T)

    def sound(self, mfcc: Tensor) -> Tensor:
        """Return the embeddings [B, 1024] of MFCC windows [B, 13, 20]."""
        return self.netfcaud(self.netcnnaud(mfcc[:, None]).flatten(1))


def empty_network() -> SyncNet:
    """Return the network with uninitialised parameters."""
    with torch.device("meta"):
        network = SyncNet()
    return network.to_empty(device="cpu")


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return each checkpoint entry's name and shape."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in SyncNet().state_dict().items()}
