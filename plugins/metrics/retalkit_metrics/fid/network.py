"""Inception v3 network, which computes the features for FID.

Reference: Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016. The module implements
the TensorFlow version of 2015-12-05 that Heusel et al. (NIPS 2017) used. In contrast to torchvision's version, average
pooling excludes the padding, and the last block uses max pooling. Parameter names match those of the pytorch-fid
checkpoint.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE: Final = 299
"""Width and height of the input in pixels."""
FEATURES: Final = 2048

_Kernel = int | tuple[int, int]
_ACROSS: Final = (1, 7)
_DOWN: Final = (7, 1)


class _Convolution(nn.Module):
    """Convolution, batch normalisation and ReLU.

    The layer preserves the height and width unless a stride is set or ``padded`` is False.
    """

    def __init__(self, channels: int, out: int, kernel: _Kernel, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(channels, out, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


def _average_pool(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _max_pool(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 3, 1, 1)


def _half_size(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 3, 2)


class _MixedA(nn.Module):
    """Inception block that maps [B, C, 35, 35] to [B, 224 + pooled, 35, 35]."""

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Convolution(channels, 64, 1)
        self.branch5x5_1 = _Convolution(channels, 48, 1)
        self.branch5x5_2 = _Convolution(48, 64, 5)
        self.branch3x3dbl_1 = _Convolution(channels, 64, 1)
        self.branch3x3dbl_2 = _Convolution(64, 96, 3)
        self.branch3x3dbl_3 = _Convolution(96, 96, 3)
        self.branch_pool = _Convolution(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        middle = self.branch5x5_2(self.branch5x5_1(x))
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), middle, twice, self.branch_pool(_average_pool(x))], 1)


class _MixedB(nn.Module):
    """Inception block that maps [B, 288, 35, 35] to [B, 768, 17, 17]."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3 = _Convolution(288, 384, 3, 2)
        self.branch3x3dbl_1 = _Convolution(288, 64, 1)
        self.branch3x3dbl_2 = _Convolution(64, 96, 3)
        self.branch3x3dbl_3 = _Convolution(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), twice, _half_size(x)], 1)


class _MixedC(nn.Module):
    """Inception block that maps [B, 768, 17, 17] to [B, 768, 17, 17]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1x1 = _Convolution(768, 192, 1)
        self.branch7x7_1 = _Convolution(768, width, 1)
        self.branch7x7_2 = _Convolution(width, width, _ACROSS)
        self.branch7x7_3 = _Convolution(width, 192, _DOWN)
        self.branch7x7dbl_1 = _Convolution(768, width, 1)
        self.branch7x7dbl_2 = _Convolution(width, width, _DOWN)
        self.branch7x7dbl_3 = _Convolution(width, width, _ACROSS)
        self.branch7x7dbl_4 = _Convolution(width, width, _DOWN)
        self.branch7x7dbl_5 = _Convolution(width, 192, _ACROSS)
        self.branch_pool = _Convolution(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_average_pool(x))], 1)


class _MixedD(nn.Module):
    """Inception block that maps [B, 768, 17, 17] to [B, 1280, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = _Convolution(768, 192, 1)
        self.branch3x3_2 = _Convolution(192, 320, 3, 2)
        self.branch7x7x3_1 = _Convolution(768, 192, 1)
        self.branch7x7x3_2 = _Convolution(192, 192, _ACROSS)
        self.branch7x7x3_3 = _Convolution(192, 192, _DOWN)
        self.branch7x7x3_4 = _Convolution(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), long, _half_size(x)], 1)


class _MixedE(nn.Module):
    """Inception block that maps [B, C, 8, 8] to [B, 2048, 8, 8]."""

    def __init__(self, channels: int, *, max_pool: bool) -> None:
        super().__init__()
        self._pool = _max_pool if max_pool else _average_pool
        self.branch1x1 = _Convolution(channels, 320, 1)
        self.branch3x3_1 = _Convolution(channels, 384, 1)
        self.branch3x3_2a = _Convolution(384, 384, (1, 3))
        self.branch3x3_2b = _Convolution(384, 384, (3, 1))
        self.branch3x3dbl_1 = _Convolution(channels, 448, 1)
        self.branch3x3dbl_2 = _Convolution(448, 384, 3)
        self.branch3x3dbl_3a = _Convolution(384, 384, (1, 3))
        self.branch3x3dbl_3b = _Convolution(384, 384, (3, 1))
        self.branch_pool = _Convolution(channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once)]
        parts += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice), self.branch_pool(self._pool(x))]
        return torch.cat(parts, 1)


class FidInception(nn.Module):
    """Network that maps RGB images [B, 3, H, W] in [0, 1] to the last pooling layer's features [B, 2048].

    The module loads the checkpoint's classifier but does not evaluate it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3, padded=False)
        self.Mixed_5b = _MixedA(192, 32)
        self.Mixed_5c = _MixedA(256, 64)
        self.Mixed_5d = _MixedA(288, 64)
        self.Mixed_6a = _MixedB()
        self.Mixed_6b = _MixedC(128)
        self.Mixed_6c = _MixedC(160)
        self.Mixed_6d = _MixedC(160)
        self.Mixed_6e = _MixedC(192)
        self.Mixed_7a = _MixedD()
        self.Mixed_7b = _MixedE(1280, max_pool=False)
        self.Mixed_7c = _MixedE(FEATURES, max_pool=True)
        self.fc = nn.Linear(FEATURES, 1008)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.interpolate(x, (SIZE, SIZE), mode="bilinear", align_corners=False) * 2 - 1
        x = _half_size(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = _half_size(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        for name, block in self.named_children():
            if name.startswith("Mixed_"):
                x = block(x)
        return x.mean((2, 3))


def empty_network() -> FidInception:
    """Return the network with uninitialised parameters."""
    with torch.device("meta"):
        network = FidInception()
    return network.to_empty(device="cpu")


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return each checkpoint entry's name and shape."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in FidInception().state_dict().items()}
