"""Convolutions of 3 x 3 with a quarter of the products, for large pictures on a processor.

Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, F(4 x 4, 3 x 3): a tile of 6 x 6 pixels
becomes 36 numbers, each number is mixed over the channels by a matrix of its own, and 4 x 4 pixels come back. A few
rows of tiles go through at a time; all at once, moving them would cost what the products save.

The polynomials are evaluated at 0, +-3/4, +-3/2 and infinity instead of the usual 0, +-1, +-2: the factors of the two
transforms of pictures are exact in float32, and the error is a quarter, that of a plain convolution.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

TILE: Final = 4
_REACH: Final = TILE + 2
_NUMBERS: Final = _REACH**2
_CHUNK_BYTES: Final = 12 << 20
"""So many bytes of numbers are mixed at once: some steps for the threads to agree on, and still near the caches."""
_POINTS: Final = (3 / 4, 3 / 2)


def transformed(weight: Tensor) -> Tensor:
    """[36, inputs, outputs]: the mixing matrices of a kernel [outputs, inputs, 3, 3]."""
    to_kernel = torch.tensor(_to_kernel(), dtype=weight.dtype, device=weight.device)
    kernel = torch.einsum("ak,bl,oikl->abio", to_kernel, to_kernel, weight)
    return kernel.flatten(0, 1).contiguous()


def convolve(values: Tensor, matrices: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """What ``conv2d`` gives for the kernel of ``matrices`` (see ``transformed``), up to rounding.

    ``values`` [T, inputs, h, w] on a processor, best channels last; ``bias`` [outputs]; ``padding`` 0 or 1, of zeros.
    The result's height and width must be multiples of ``TILE``. Returns [T, outputs, h', w'], channels last.
    """
    height, width = (size + 2 * padding - 2 for size in values.shape[2:])
    result = values.new_empty(len(values), height, width, matrices.shape[2])
    for picture, target in zip(values.permute(0, 2, 3, 1), result, strict=True):
        _convolve_picture(picture, matrices, bias, padding, target)
    return result.permute(0, 3, 1, 2)


def _convolve_picture(picture: Tensor, matrices: Tensor, bias: Tensor | None, padding: int, target: Tensor) -> None:
    """``picture`` [h, w, inputs] to ``target`` [h', w', outputs]."""
    height, width, inputs = picture.shape
    down, across, outputs = target.shape[0] // TILE, target.shape[1] // TILE, target.shape[2]
    count = max(1, min(down, _CHUNK_BYTES // (_NUMBERS * 4 * across * max(inputs, outputs))))
    new = picture.new_empty
    seen = picture.new_zeros(TILE * count + 2, TILE * across + 2, inputs)
    line = seen.stride(0)
    tiles = seen.as_strided((_REACH, _REACH, count, across, inputs), (line, inputs, TILE * line, TILE * inputs, 1))
    cut, numbers = new(tiles.shape), new(_NUMBERS, count * across, inputs)
    mixed, drawn = new(_NUMBERS, count * across, outputs), new(TILE, TILE, count, across, outputs)
    to_numbers = picture.new_tensor(_squared(_to_numbers()))
    to_pixels = picture.new_tensor(_squared(_to_pixels()))
    shift = picture.new_zeros(outputs) if bias is None else bias
    for start in range(0, down, count):
        # The last chunk reaches back: a part of it is computed twice, and all are alike.
        start = min(start, down - count)
        top = TILE * start - padding
        first, last = max(top, 0), min(top + len(seen), height)
        if first > top:
            seen[: first - top] = 0
        if last < top + len(seen):
            seen[last - top :] = 0
        seen[first - top : last - top, padding : padding + width] = picture[first:last]
        cut.copy_(tiles)
        torch.mm(to_numbers, cut.view(_NUMBERS, -1), out=numbers.view(_NUMBERS, -1))
        torch.bmm(numbers, matrices, out=mixed)
        torch.mm(to_pixels, mixed.view(_NUMBERS, -1), out=drawn.view(TILE**2, -1))
        pixels = target[TILE * start : TILE * (start + count)].view(count, TILE, across, TILE, outputs)
        torch.add(drawn.permute(2, 0, 3, 1, 4), shift, out=pixels)


def _to_kernel() -> list[list[float]]:
    """[6, 3]: the numbers of three weights."""
    near, far = _POINTS
    rows = [[1 / (near**2 * far**2), 0.0, 0.0]]
    for point, other in ((near, far), (far, near)):
        scale = 1 / (2 * point**2 * (point**2 - other**2))
        rows += [[scale, sign * point * scale, point**2 * scale] for sign in (1, -1)]
    return [*rows, [0.0, 0.0, 1.0]]


def _to_numbers() -> list[list[float]]:
    """[6, 6]: the numbers of six pixels."""
    near, far = _POINTS
    both, product = near**2 + far**2, near**2 * far**2
    rows = [[product, 0.0, -both, 0.0, 1.0, 0.0]]
    for point, other in ((near, far), (far, near)):
        rows += [[0.0, -sign * point * other**2, -(other**2), sign * point, 1.0, 0.0] for sign in (1, -1)]
    return [*rows, [0.0, product, 0.0, -both, 0.0, 1.0]]


def _to_pixels() -> list[list[float]]:
    """[4, 6]: four pixels of six numbers."""
    near, far = _POINTS
    points = (0.0, near, -near, far, -far)
    return [[*(point**power for point in points), float(power == TILE - 1)] for power in range(TILE)]


def _squared(rows: list[list[float]]) -> list[list[float]]:
    """The same in both directions at once: the Kronecker product of a matrix with itself."""
    return [[a * b for a in one for b in other] for one in rows for other in rows]
