"""ParseNet: classifies the pixels of an aligned face of 512 x 512 into 19 classes (skin, nose, lips, hair, ...).

Chen et al., "Progressive semantic-aware style transformation for blind face restoration", CVPR 2021, where it computes
the semantic maps; the version published with GPEN (Yang et al., CVPR 2021), 32 to 256 channels. Its second head
predicts an image that the pipeline does not use: its parameters are kept, because the checkpoint contains them, and the
image is not computed.
"""

from __future__ import annotations

from typing import Final, Literal

from retalkit.inference import state_shapes
from torch import Tensor, nn
from torch.nn import functional

SIZE: Final = 512
"""Side in pixels of the training images. Any multiple of 16 works."""
CLASSES: Final = 19

_WIDTHS: Final = (64, 128, 256, 256, 256)
"""Channels at 512, 256, 128, 64 and 32 pixels."""
_BODY: Final = 10
NEGATIVE_SLOPE: Final = 0.2
"""Of every leaky ReLU in the network."""

Resize = Literal["none", "down", "up"]


class _Norm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Convolution(nn.Module):
    """3 x 3 convolution, reflection padding; ``up`` doubles the input (nearest neighbour), ``down`` has stride 2."""

    def __init__(self, channels: int, out: int, resize: Resize = "none", *, norm: bool = False) -> None:
        super().__init__()
        self._up = resize == "up"
        self.conv2d = nn.Conv2d(channels, out, 3, stride=2 if resize == "down" else 1, bias=not norm)
        self.norm = _Norm(out) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self._up:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.norm(self.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect")))


class Residual(nn.Module):
    """Two convolutions with a shortcut. The first one upsamples, the second one downsamples."""

    def __init__(self, channels: int, out: int, resize: Resize = "none") -> None:
        super().__init__()
        plain = resize == "none" and channels == out
        self.shortcut_func = nn.Identity() if plain else Convolution(channels, out, resize)
        self.conv1 = Convolution(channels, out, "up" if resize == "up" else "none", norm=True)
        self.conv2 = Convolution(out, out, "down" if resize == "down" else "none", norm=True)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.leaky_relu(self.conv1(x), NEGATIVE_SLOPE)
        return self.shortcut_func(x) + self.conv2(inner)


class ParseNet(nn.Module):
    """[B, 3, 512, 512] RGB in [-1, 1] -> [B, 19, 512, 512] logits of the classes."""

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
        features = self.encoder(x)
        return self.out_mask_conv(self.decoder(features + self.body(features)))


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return name and shape of each entry of the checkpoint."""
    return state_shapes(ParseNet)
