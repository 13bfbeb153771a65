"""Convolutions of a picture that was doubled bilinearly, at a quarter of the products."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_LEAST: Final = 32
"""Height and width from which fewer products make up for the work at the border."""


def upsampled_convolution(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3 x 3 convolution of the bilinear double of ``values``, at a quarter of its products.

    Bilinear doubling is: put zeros between the pixels, then convolve with (1, 3, 3, 1)/4 in both directions. Both
    convolutions may change places, and the 3 x 3 one then skips the zeros (a transposed convolution).

    ``values`` [T, inputs, h, w], ``weight`` [outputs, inputs, 3, 3], ``bias`` [outputs]. Returns [T, outputs, 2h-6,
    2w-6]: only what does not depend on a border. Its first row and column are row and column 3 of the doubled picture.
    """
    sparse = functional.conv_transpose2d(values, weight.flip((2, 3)).transpose(0, 1), stride=2, padding=2)
    smooth = torch.tensor([1.0, 3.0, 3.0, 1.0], device=values.device, dtype=values.dtype) / 4
    kernel = (smooth[:, None] * smooth).expand(len(weight), 1, 4, 4)
    return functional.conv2d(sparse, kernel, bias, groups=len(weight))


def doubled_convolution(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 3 x 3 convolution, with zeros around the picture, of the bilinear double of ``values``.

    ``values`` [B, inputs, h, w], ``weight`` [outputs, inputs, 3, 3], ``bias`` [outputs]. Returns [B, outputs, 2h, 2w].
    """
    if min(values.shape[2:]) < _LEAST:
        return functional.conv2d(doubled(values), weight, bias, padding=1)
    # Doubling repeats the outermost pixels, and so does this border: all but one row and column around is exact.
    around = functional.pad(values, (1, 1, 1, 1), "replicate")
    added = values.new_zeros(len(weight)) if bias is None else bias
    inner = upsampled_convolution(around, weight, added)
    result = functional.pad(inner, (1, 1, 1, 1))
    # That one row or column sees the zeros. It needs two rows of the double, which two of ``values`` give.
    for axis in (2, 3):
        size = values.shape[axis]
        for place, start, kept in ((0, 0, slice(0, 2)), (2 * size - 1, size - 2, slice(2, 4))):
            strip = doubled(values.narrow(axis, start, 2)).narrow(axis, kept.start, 2)
            line = functional.conv2d(strip, weight, added, padding=1)
            result.select(axis, place).copy_(line.select(axis, 0 if place == 0 else 1))
    return result


def doubled(values: Tensor) -> Tensor:
    """[B, channels, 2h, 2w]: the bilinear double of [B, channels, h, w]."""
    return functional.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)
