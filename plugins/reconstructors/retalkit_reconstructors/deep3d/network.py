"""Network that estimates face model coefficients from an aligned face, with the published parameter names.

The backbone is a ResNet-50 (He et al., "Deep residual learning for image recognition", CVPR 2016) that applies each
stage's stride in the 3 x 3 convolution. The head has one linear layer per coefficient group on the pooled features
(Deng et al., "Accurate 3D face reconstruction with weakly-supervised learning", CVPR Workshops 2019).
"""

from __future__ import annotations

from typing import Final

import torch
from retalkit.inference import state_shapes
from torch import Tensor, nn
from torch.nn import functional

SIDE: Final = 224
"""Side of the aligned face in pixels."""
GROUPS: Final = (80, 64, 80, 3, 27, 2, 1)
"""Number of coefficients in each group.

The groups are identity, expression, texture, angles, lighting, translation in x and y, and translation in z.
"""
COUNT: Final = sum(GROUPS)
"""Total number of coefficients (257)."""

_BLOCKS: Final = (3, 4, 6, 3)
_WIDTHS: Final = (64, 128, 256, 512)
_EXPANSION: Final = 4


class Bottleneck(nn.Module):
    """Residual block with 1 x 1, 3 x 3 and 1 x 1 convolutions.

    The input is [B, inputs, H, W]. The output is [B, 4 width, H / stride, W / stride].
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)))
        inner = functional.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        return functional.relu(inner + (x if self.downsample is None else self.downsample(x)))


class Backbone(nn.Module):
    """ResNet-50 without its classifier, which maps [B, 3, 224, 224] to [B, 2048, 1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, _WIDTHS[0], _BLOCKS[0], 1)  # 256 x 56 x 56
        self.layer2 = _stage(256, _WIDTHS[1], _BLOCKS[1], 2)  # 512 x 28 x 28
        self.layer3 = _stage(512, _WIDTHS[2], _BLOCKS[2], 2)  # 1024 x 14 x 14
        self.layer4 = _stage(1024, _WIDTHS[3], _BLOCKS[3], 2)  # 2048 x 7 x 7

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))  # 64 x 112 x 112
        x = functional.max_pool2d(x, 3, 2, 1)  # 64 x 56 x 56
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3), keepdim=True)


class CoefficientNetwork(nn.Module):
    """Network that maps images [B, 3, 224, 224] to coefficients [B, 257].

    The input is float32 RGB in [0, 1], cropped by ``align_face``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.final_layers = nn.ModuleList(nn.Conv2d(2048, count, 1) for count in GROUPS)

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone(x)
        return torch.cat([layer(features) for layer in self.final_layers], dim=1).flatten(1)


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return each checkpoint entry's name and shape."""
    return state_shapes(CoefficientNetwork)


def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (Bottleneck(width * _EXPANSION, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(Bottleneck(inputs, width, stride), *rest)
