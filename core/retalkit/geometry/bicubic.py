"""A part of a bicubically resized picture, bit for bit as Pillow resizes it, without resizing the rest.

The published face reconstruction sees pictures that Pillow resized. Keys, "Cubic convolution interpolation for digital
image processing", IEEE Transactions on Acoustics, Speech, and Signal Processing 1981, with a = -0.5; a smaller picture
is made with a kernel that is wider by the same factor. Weights are rounded to 22 bits, and what the first pass (along
the rows, whatever the factors) gives is rounded to whole levels before the second.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_ONE: Final = float(1 << 22)
_SUPPORT: Final = 2.0
_SHARPNESS: Final = -0.5


def resized_part(
    image: NDArray[np.uint8], size: tuple[int, int], corner: tuple[int, int], extent: int
) -> NDArray[np.uint8]:
    """uint8 [extent, extent, C] cut at ``corner`` (x, y; may be negative) out of ``image`` [H, W, C] resized to
    ``size`` (width, height, both at least 1); black outside the picture."""
    out = np.zeros((extent, extent, image.shape[2]), np.uint8)
    inside = [(max(0, -place), min(extent, length - place)) for place, length in zip(corner, size, strict=True)]
    (left, right), (top, bottom) = inside
    if left >= right or top >= bottom:
        return out
    columns, first = _weights(image.shape[1], size[0], corner[0] + left, corner[0] + right)
    rows, top_row = _weights(image.shape[0], size[1], corner[1] + top, corner[1] + bottom)
    part = image[top_row : top_row + rows.shape[1], first : first + columns.shape[1]]
    across = _product(columns, part.swapaxes(0, 1)).swapaxes(0, 1)
    out[top:bottom, left:right] = _product(rows, across)
    return out


def _weights(length: int, resized: int, start: int, stop: int) -> tuple[NDArray[np.float64], int]:
    """How ``length`` samples make the new samples [start, stop) of ``resized``: whole weights [N, M] in 22 bits of
    those M samples that count, and the first one of these.

    Sums of their products with bytes stay below 2^53 and are exact, in whatever order they are made.
    """
    step = length / resized
    stretch = max(step, 1.0)
    support = _SUPPORT * stretch
    centres = (np.arange(start, stop) + 0.5) * step
    # Truncation towards zero, then the picture's border: as counted there, so that the sums have the same terms.
    first = np.maximum((centres - support + 0.5).astype(np.intp), 0)
    last = np.minimum((centres + support + 0.5).astype(np.intp), length)
    places = first[:, None] + np.arange(int((last - first).max()))
    there = places < last[:, None]
    weights = np.where(there, _kernel((places - centres[:, None] + 0.5) * (1.0 / stretch)), 0.0)
    total = np.zeros(len(centres))
    for column in weights.T:
        total = total + column
    weights = weights / total[:, None]
    origin = int(first.min())
    dense = np.zeros((len(centres), int(last.max()) - origin))
    row, tap = np.nonzero(there)
    dense[row, places[row, tap] - origin] = np.trunc(weights * _ONE + np.copysign(0.5, weights))[row, tap]
    return dense, origin


def _kernel(x: NDArray[np.float64]) -> NDArray[np.float64]:
    a, x = _SHARPNESS, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < _SUPPORT, far, 0.0))


def _product(weights: NDArray[np.float64], samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Weights [N, M] in 22 bits times samples [M, K, C], rounded -> uint8 [N, K, C]."""
    flat = np.ascontiguousarray(samples, np.float64).reshape(len(samples), -1)
    sums = weights @ flat
    sums += _ONE / 2
    sums *= 1 / _ONE
    np.clip(sums, 0.0, 255.0, out=sums)
    # The cast cuts the fraction off.
    return sums.astype(np.uint8).reshape(len(weights), *samples.shape[1:])
