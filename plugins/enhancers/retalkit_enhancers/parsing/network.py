"""ParseNet: sorts the pixels of an aligned face of 512 x 512 into 19 classes (skin, nose, lips, hair, ...).

Chen et al., "Progressive semantic-aware style transformation for blind face restoration", CVPR 2021, where it makes
the semantic maps; the version published with GPEN (Yang et al., CVPR 2021), 32 to 256 channels. It has a second head
that draws a picture, which nobody uses: its parameters are kept, because they are in the checkpoint, and the picture is
not computed.
"""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE: Final = 512
"""Pixels a side of what the network was trained on. Any multiple of 16 works."""
CLASSES: Final = 19

_WIDTHS: Final = (64, 128, 256, 256, 256)
"""Channels at 512, 256, 128, 64 and 32 pixels a side."""
_BODY: Final = 10
SLOPE: Final = 0.2

Change = Literal["none", "down", "up"]


class _Norm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Convolution(nn.Module):
    """3 x 3 with mirrored borders; doubles the size before ("up", nearest) or halves it ("down", stride)."""

    def __init__(self, channels: int, out: int, change: Change = "none", *, norm: bool = False) -> None:
        super().__init__()
        self._up = change == "up"
        self.conv2d = nn.Conv2d(channels, out, 3, stride=2 if change == "down" else 1, bias=not norm)
        self.norm = _Norm(out) if norm else nn.Identity()

    @property
    def batch_norm(self) -> nn.BatchNorm2d | None:
        """What follows the convolution, if anything."""
        return self.norm.norm if isinstance(self.norm, _Norm) else None

    def forward(self, x: Tensor) -> Tensor:
        if self._up:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.norm(self.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect")))


class Residual(nn.Module):
    """Two convolutions beside a shortcut. The size grows in the first and shrinks in the second."""

    def __init__(self, channels: int, out: int, change: Change = "none") -> None:
        super().__init__()
        # A shortcut without parameters keeps size and channels.
        plain = change == "none" and channels == out
        self.shortcut_func = nn.Identity() if plain else Convolution(channels, out, change)
        self.conv1 = Convolution(channels, out, "up" if change == "up" else "none", norm=True)
        self.conv2 = Convolution(out, out, "down" if change == "down" else "none", norm=True)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.leaky_relu(self.conv1(x), SLOPE)
        return self.shortcut_func(x) + self.conv2(inner)


class ParseNet(nn.Module):
    """[B, 3, 512, 512] RGB in [-1, 1] -> [B, 19, 512, 512] scores of the classes, in no unit."""

    def __init__(self) -> None:
        super().__init__()
        down = list(zip(_WIDTHS[:-1], _WIDTHS[1:], strict=True))
        first = Convolution(3, _WIDTHS[0])
        self.encoder = nn.Sequential(first, *(Residual(wide, out, "down") for wide, out in down))
        self.body = nn.Sequential(*(Residual(_WIDTHS[-1], _WIDTHS[-1]) for _ in range(_BODY)))
        self.decoder = nn.Sequential(*(Residual(wide, out, "up") for out, wide in reversed(down)))
        self.out_img_conv = Convolution(_WIDTHS[0], 3)
        self.out_mask_conv = Convolution(_WIDTHS[0], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        coded = self.encoder(x)
        return self.out_mask_conv(self.decoder(coded + self.body(coded)))


def empty_network() -> ParseNet:
    """The network with memory for its parameters and no values in it."""
    with torch.device("meta"):
        network = ParseNet()
    return network.to_empty(device="cpu")


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of everything in the checkpoint."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in ParseNet().state_dict().items()}
