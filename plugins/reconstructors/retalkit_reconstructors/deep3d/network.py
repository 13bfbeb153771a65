"""The network that reads face model coefficients off an aligned face, with the names of the published checkpoint.

He et al., "Deep residual learning for image recognition", CVPR 2016: ResNet-50, with the stride of a stage in its 3 x 3
convolution; Deng et al., "Accurate 3D face reconstruction with weakly-supervised learning", CVPR Workshops 2019: one
linear layer for each group of coefficients on the pooled features.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS: Final = (80, 64, 80, 3, 27, 2, 1)
"""Identity, expression, texture, angles, lighting, translation across, translation along the view."""
COUNT: Final = sum(GROUPS)
"""257 coefficients."""

_BLOCKS: Final = (3, 4, 6, 3)
_WIDTHS: Final = (64, 128, 256, 512)
_EXPANSION: Final = 4
_PAIRS: Final = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1"))
"""Members of a block that follow each other; the last pair is that of a ``downsample``."""


class Bottleneck(nn.Module):
    """1 x 1 down, 3 x 3, 1 x 1 up, added to what came in: [B, inside, H, W] -> [B, 4 width, H / stride, W / stride]."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        outside = width * _EXPANSION
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2: nn.Module = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outside, 1, bias=False)
        self.bn3: nn.Module = nn.BatchNorm2d(outside)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu_(self.bn1(self.conv1(x)))
        inner = functional.relu_(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        inner += x if self.downsample is None else self.downsample(x)
        return functional.relu_(inner)


class Backbone(nn.Module):
    """ResNet-50 without its classifier: [B, 3, 224, 224] -> [B, 2048, 1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, _WIDTHS[0], _BLOCKS[0], 1)  # 256 x 56 x 56
        self.layer2 = _stage(256, _WIDTHS[1], _BLOCKS[1], 2)  # 512 x 28 x 28
        self.layer3 = _stage(512, _WIDTHS[2], _BLOCKS[2], 2)  # 1024 x 14 x 14
        self.layer4 = _stage(1024, _WIDTHS[3], _BLOCKS[3], 2)  # 2048 x 7 x 7

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu_(self.bn1(self.conv1(x)))  # 64 x 112 x 112
        x = functional.max_pool2d(x, 3, 2, 1)  # 64 x 56 x 56
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3), keepdim=True)


class CoefficientNetwork(nn.Module):
    """float32 [B, 3, 224, 224], RGB in [0, 1] as ``align_face`` cuts it -> [B, 257] coefficients."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.final_layers = nn.ModuleList(nn.Conv2d(2048, count, 1) for count in GROUPS)

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone(x).flatten(1)
        # Row by row: a product with several rows at once may be rounded in another way than that with one.
        return torch.stack([self._read_off(row) for row in features])

    def _read_off(self, features: Tensor) -> Tensor:
        """[2048] -> [257]"""
        layers = cast("Iterable[nn.Conv2d]", self.final_layers)
        return torch.cat([torch.mv(layer.weight.flatten(1), features) + cast(Tensor, layer.bias) for layer in layers])


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of what the checkpoint must hold."""
    with torch.device("meta"):
        network = CoefficientNetwork()
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def fold_normalisations(network: CoefficientNetwork) -> CoefficientNetwork:
    """Works every batch normalisation into the convolution before it: the same function up to rounding, faster.

    Changes the network in place, its parameter names too: load its weights and set it to evaluation mode first.
    """
    for module in list(network.modules()):
        for convolution, normalisation in _PAIRS:
            norm = getattr(module, normalisation, None)
            if isinstance(norm, nn.BatchNorm2d):
                _fold(getattr(module, convolution), norm)
                setattr(module, normalisation, nn.Identity())
    return network


@torch.no_grad()
def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    convolution.weight *= factor[:, None, None, None]
    convolution.bias = nn.Parameter(norm.bias - norm.running_mean * factor, requires_grad=False)


def _stage(inside: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (Bottleneck(width * _EXPANSION, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(Bottleneck(inside, width, stride), *rest)
