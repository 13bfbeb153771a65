"""ParseNet, which classifies the pixels of an aligned 512 x 512 face into 19 classes, such as skin, nose, lips and
hair.

Chen et al., "Progressive semantic-aware style transformation for blind face restoration", CVPR 2021, compute semantic
maps with ParseNet. This module implements the variant with 32 to 256 channels that was published with GPEN (Yang et
al., CVPR 2021). ParseNet's second head predicts an image that the pipeline does not use. The module defines the
parameters of this head, because the checkpoint contains them, but does not compute the image.
"""

from __future__ import annotations

from typing import Final, Literal

from retalkit.inference import state_shapes
from torch import Tensor, nn
from torch.nn import functional

SIZE: Final = 512
"""Width and height of the training images in pixels. The network accepts any multiple of 16."""
CLASSES: Final = 19

_WIDTHS: Final = (64, 128, 256, 256, 256)
"""Number of channels at 512, 256, 128, 64 and 32 pixels."""
_BODY: Final = 10
NEGATIVE_SLOPE: Final = 0.2
"""Negative slope of all leaky ReLUs in the network."""

Resize = Literal["none", "down", "up"]


class _Norm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Convolution(nn.Module):
    """3 x 3 convolution with reflection padding.

    ``up`` doubles the input size by nearest-neighbour interpolation. ``down`` sets a stride of 2.
    """

    def __init__(self, channels: int, out: int, resize: Resize = "none", *, norm: bool = False) -> None:
        super().__init__()
        self._up = resize == "up"
        self.conv2d = nn.Conv2d(channels, out, 3, stride=2 if resize == "down" else 1, bias=not norm)
        self.norm = _Norm(out) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self._up:
            return self.norm(_convolve_upsampled(x, self.conv2d))
        return self.norm(self.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect")))


def _convolve_upsampled(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Return the 3 x 3 convolution of ``x`` [B, C, h, w] after nearest-neighbour upsampling by two and reflection
    padding, [B, outputs, 2h, 2w].

    The convolution reads each pixel of ``x`` up to four times per output pixel. A transposed convolution with a stride
    of 2 and the summed weights requires four instead of nine multiplications per output pixel and channel pair.
    Reflection padding after the upsampling is equivalent to replication padding before the upsampling.
    """
    # Upsampling is a transposed convolution with 2 x 2 ones. Its composition with the 3 x 3 weights is 4 x 4.
    weight = convolution.weight.flip(2, 3).transpose(0, 1)
    weight = functional.pad(weight, (0, 0, 0, 1)) + functional.pad(weight, (0, 0, 1, 0))
    weight = functional.pad(weight, (0, 1)) + functional.pad(weight, (1, 0))
    padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    return functional.conv_transpose2d(padded, weight, convolution.bias, stride=2, padding=3)


class Residual(nn.Module):
    """Residual block with two convolutions. The first convolution can upsample, and the second convolution can
    downsample.
    """

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
    """Network that maps faces [B, 3, 512, 512], RGB in [-1, 1], to class logits [B, 19, 512, 512]."""

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
    """Return each checkpoint entry's name and shape."""
    return state_shapes(ParseNet)
