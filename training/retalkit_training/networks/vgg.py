"""VGG-16 and VGG-19 feature extractors for perceptual losses.

Reference: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
configurations D and E. Parameter names match those of torchvision's ``vgg16`` and ``vgg19`` files
(``features.N.weight``). The classifier is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

Vgg = Literal["vgg16", "vgg19"]

_CHANNELS: Final = (64, 128, 256, 512, 512)
"""Number of channels in each of the five blocks. Each block ends with 2 x 2 max pooling."""
_CONVOLUTIONS: Final[Mapping[str, tuple[int, ...]]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Number of convolutions in each block."""
_MEAN: Final = (0.485, 0.456, 0.406)
_DEVIATION: Final = (0.229, 0.224, 0.225)
"""Mean and standard deviation of the RGB values of ImageNet, in [0, 1]."""


def layer_indexes(network: Vgg) -> dict[str, int]:
    """Return the index in ``features`` of each layer.

    Layer names are ``conv_B_C`` (before the ReLU), ``relu_B_C`` and ``pool_B`` for block ``B`` and convolution ``C``,
    both from 1, as in the published losses.
    """
    indexes: dict[str, int] = {}
    for block, count in enumerate(_CONVOLUTIONS[network], 1):
        for convolution in range(1, count + 1):
            indexes[f"conv_{block}_{convolution}"] = len(indexes)
            indexes[f"relu_{block}_{convolution}"] = len(indexes)
        indexes[f"pool_{block}"] = len(indexes)
    return indexes


def normalise(images: Tensor) -> Tensor:
    """Return RGB images [B, 3, H, W] in [-1, 1], normalised with the statistics of ImageNet.

    Source: ``apply_imagenet_normalization`` in PIRender's ``loss/perceptual.py``.
    """
    mean = images.new_tensor(_MEAN)[:, None, None]
    deviation = images.new_tensor(_DEVIATION)[:, None, None]
    return ((images + 1) / 2 - mean) / deviation


class VggFeatures(nn.Module):
    """Convolutional part of VGG up to the last of the requested layers.

    The published loss evaluates all layers, although it uses none after ``relu_5_1``. The results are equal, but this
    network accepts images from 16 pixels, the published one from 32.
    """

    def __init__(self, network: Vgg, layers: Sequence[str]) -> None:
        """Create the network with random weights. ``layers``: names from ``layer_indexes``, in any order."""
        super().__init__()
        if network not in get_args(Vgg):
            raise ValueError(f"unknown network '{network}', expected one of {', '.join(get_args(Vgg))}")
        indexes = layer_indexes(network)
        if unknown := [name for name in layers if name not in indexes]:
            raise ValueError(f"{network} has no layer {', '.join(unknown)}; its layers are {', '.join(indexes)}")
        if not layers:
            raise ValueError("at least one layer is required")
        self.layers = tuple(layers)
        self._names = {indexes[name]: name for name in layers}
        last = max(self._names)
        self.features = nn.Sequential(*_modules(network)[: last + 1])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features [B, C, h, w] of each layer in the order of ``layers``.

        ``images``: [B, 3, H, W], RGB normalised by ``normalise``.
        """
        found: dict[str, Tensor] = {}
        x = images
        for index, module in enumerate(self.features):
            x = module(x)
            if index in self._names:
                found[self._names[index]] = x
        return [found[name] for name in self.layers]


def _modules(network: Vgg) -> list[nn.Module]:
    modules: list[nn.Module] = []
    inputs = 3
    for outputs, count in zip(_CHANNELS, _CONVOLUTIONS[network], strict=True):
        for _ in range(count):
            modules += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
        modules.append(nn.MaxPool2d(2))
    return modules


def parameter_shapes(network: Vgg) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each parameter of all convolutional layers."""
    with torch.device("meta"):
        entries = VggFeatures(network, ["pool_5"]).state_dict()
    return {name: tuple(value.shape) for name, value in entries.items()}


def vgg16_shapes() -> dict[str, tuple[int, ...]]:
    """Return the entries of the checkpoint ``vgg16`` that are loaded."""
    return parameter_shapes("vgg16")


def vgg19_shapes() -> dict[str, tuple[int, ...]]:
    """Return the entries of the checkpoint ``vgg19`` that are loaded."""
    return parameter_shapes("vgg19")
