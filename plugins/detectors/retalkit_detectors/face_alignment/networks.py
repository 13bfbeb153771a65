"""The library's two networks with weights of our store.

The library's own constructor downloads its weights, or reads them from a pickle at a path; its network classes do
neither, and their parameter names are those of the published files. So the classes are taken and nothing else of it
that loads, compiles or sets options of torch for the whole process.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from face_alignment.detection.sfd.net_s3fd import s3fd as S3FD  # noqa: N812 - the library writes its class small
from face_alignment.models import FAN
from retalkit.inference import load_weights
from torch import nn

HOURGLASSES = 4


class Network(Protocol):
    """A network of the library: one picture in, several maps out."""

    def __call__(self, pictures: torch.Tensor, /) -> list[torch.Tensor]: ...


@dataclass(frozen=True, slots=True)
class Networks:
    """Both networks, on the device on which they compute."""

    s3fd: Network
    """float32 [1, 3, h, w], BGR 0 to 255 less ``boxes.MEAN``; sides of at least 32 -> for each of six levels scores
    [1, 2, h', w'] (background, face; before the softmax) and offsets [1, 4, h', w']."""
    fan: Network
    """float32 [1, 3, 256, 256], RGB in [0, 1] -> heat maps [1, 68, 64, 64] of each hourglass; the last counts."""
    device: str = "cpu"
    precision: str = "float32"


def load_networks(s3fd: Path, fan: Path, device: str = "cpu", precision: str = "float32") -> Networks:
    """Both networks with the weights of these safetensors files.

    Raises WeightsError where a file does not fit.
    """
    return Networks(_quick(S3FD(), s3fd, device), _quick(FAN(HOURGLASSES), fan, device), device, precision)


def s3fd_shapes() -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes of S3FD."""
    with torch.device("meta"):
        return _shapes(S3FD())


def fan_shapes() -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes of FAN with four hourglasses."""
    with torch.device("meta"):
        return _shapes(FAN(HOURGLASSES))


def _quick(network: nn.Module, weights: Path, device: str) -> Network:
    loaded = load_weights(network, weights, device)
    if torch.device(device).type == "cpu":
        # Takes a fifth to a quarter of the time off both networks.
        loaded.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stubs lack it
    return loaded


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}
