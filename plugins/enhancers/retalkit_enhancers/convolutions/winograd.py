"""Convolutions of 3 x 3 with a quarter of the products, for large pictures on a processor.

Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, F(4 x 4, 3 x 3): a tile of 6 x 6 pixels
becomes 36 numbers, each number is mixed over the channels by a matrix of its own, and 4 x 4 pixels come back. A few
rows of tiles go through at a time; all at once, moving them would cost what the products save.

The polynomials are evaluated at 0, +-3/4, +-3/2 and infinity instead of the usual 0, +-1, +-2: the factors of the two
transforms of pictures are exact in float32, and the error is a quarter, that of a plain convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from retalkit_enhancers.convolutions.scratch import Scratch

TILE: Final = 4
_REACH: Final = TILE + 2
_NUMBERS: Final = _REACH**2
_CHUNK_BYTES: Final = 12 << 20
"""So many bytes of numbers are mixed at once: few steps for the threads to agree on, and still near the caches."""
_POINTS: Final = (3 / 4, 3 / 2)


def transformed(weight: Tensor) -> Tensor:
    """[36, inputs, outputs]: the mixing matrices of a kernel [outputs, inputs, 3, 3]."""
    to_kernel = torch.tensor(_to_kernel(), dtype=weight.dtype, device=weight.device)
    kernel = torch.einsum("ak,bl,oikl->abio", to_kernel, to_kernel, weight)
    return kernel.flatten(0, 1).contiguous()


def convolve(
    values: Tensor, matrices: Tensor, bias: Tensor | None, padding: int, scratch: Scratch | None = None
) -> Tensor:
    """What ``conv2d`` gives for the kernel of ``matrices`` (see ``transformed``), up to rounding.

    ``values`` [T, inputs, h, w] on a processor, best channels last; ``bias`` [outputs]; ``padding`` 0 or 1, of zeros.
    The result's height and width must be multiples of ``TILE``. Returns [T, outputs, h', w'], channels last.
    """
    height, width = (size + 2 * padding - 2 for size in values.shape[2:])
    result = values.new_empty(len(values), height, width, matrices.shape[2])
    shift = values.new_zeros(matrices.shape[2]) if bias is None else bias
    scratch = scratch or Scratch()
    for picture, target in zip(values.permute(0, 2, 3, 1), result, strict=True):
        for part, drawn in _drawn(picture, matrices, padding, slice(0, height), scratch, mirrored=False):
            torch.add(drawn, shift, out=_tiled(target[part]))
    return result.permute(0, 3, 1, 2)


def draw(
    picture: Tensor, matrices: Tensor, bias: Tensor, target: Tensor, scratch: Scratch, first: int = 0, slope: float = 1
) -> None:
    """Rows of a convolution with mirrored borders, then a leaky ReLU.

    ``picture`` [h, w, inputs]; ``target`` [rows, w, outputs] gets rows ``first`` and on. ``first``, the number of rows
    and ``w`` are multiples of ``TILE``; ``slope`` 1: no ReLU.
    """
    rows = slice(first, first + len(target))
    for part, drawn in _drawn(picture, matrices, 1, rows, scratch, mirrored=True):
        pixels = _tiled(target[part.start - first : part.stop - first])
        if slope == 1:
            torch.add(drawn, bias, out=pixels)
        else:
            drawn += bias
            torch.ops.aten.leaky_relu.out(drawn, slope, out=pixels)


def draw_upon(picture: Tensor, matrices: Tensor, target: Tensor, scratch: Scratch) -> None:
    """Adds a convolution with mirrored borders to ``target`` [h, w, outputs]; ``picture`` as in ``draw``."""
    for part, drawn in _drawn(picture, matrices, 1, slice(0, len(target)), scratch, mirrored=True):
        _tiled(target[part]).add_(drawn)


def _tiled(rows: Tensor) -> Tensor:
    """[h / 4, 4, w / 4, 4, channels]: the same memory as [h, w, channels]."""
    return rows.unflatten(1, (-1, TILE)).unflatten(0, (-1, TILE))


def _drawn(
    picture: Tensor, matrices: Tensor, padding: int, rows: slice, scratch: Scratch, *, mirrored: bool
) -> Iterator[tuple[slice, Tensor]]:
    """Some rows at a time of the convolution of ``picture`` [h, w, inputs], as ``_tiled`` has them.

    ``rows``: which of the result. What comes must not be used after the next has come.
    """
    _, width, inputs = picture.shape
    outputs = matrices.shape[2]
    down, across = (rows.stop - rows.start) // TILE, (width + 2 * padding - 2) // TILE
    most = max(1, min(down, _CHUNK_BYTES // (_NUMBERS * 4 * across * max(inputs, outputs))))
    count = -(-down // -(-down // most))  # as many steps, but all about alike
    seen, cut, numbers, mixed, drawn = scratch.take(
        picture,
        (TILE * count + 2, TILE * across + 2, inputs),
        (_REACH, _REACH, count, across, inputs),
        (_NUMBERS, count * across, inputs),
        (_NUMBERS, count * across, outputs),
        (TILE, TILE, count, across, outputs),
    )
    line = seen.stride(0)
    steps = (line, inputs, TILE * line, TILE * inputs, 1)
    tiles = seen.as_strided((_REACH, _REACH, count, across, inputs), steps, seen.storage_offset())
    to_numbers = picture.new_tensor(_squared(_to_numbers()))
    to_pixels = picture.new_tensor(_squared(_to_pixels()))
    for wanted in range(0, down, count):
        # The last chunk reaches back: a part of it is computed twice, and all are alike.
        start = min(wanted, down - count)
        top = rows.start + TILE * start - padding
        _read(picture, seen, top, padding, mirrored=mirrored)
        cut.copy_(tiles)
        torch.mm(to_numbers, cut.view(_NUMBERS, -1), out=numbers.view(_NUMBERS, -1))
        torch.bmm(numbers, matrices, out=mixed)
        torch.mm(to_pixels, mixed.view(_NUMBERS, -1), out=drawn.view(TILE**2, -1))
        part = slice(rows.start + TILE * wanted, rows.start + TILE * (start + count))
        yield part, drawn.permute(2, 0, 3, 1, 4)[wanted - start :]


def _read(picture: Tensor, seen: Tensor, top: int, padding: int, *, mirrored: bool) -> None:
    """Fills ``seen`` with rows ``top`` and on, and with what lies around the picture."""
    height, width = picture.shape[:2]
    first, last = max(top, 0), min(top + len(seen), height)
    seen[first - top : last - top, padding : padding + width] = picture[first:last]
    if mirrored:
        if first > top:
            seen[0] = seen[2]
        if last < top + len(seen):
            seen[-1] = seen[-3]
        seen[:, 0], seen[:, -1] = seen[:, 2], seen[:, -3]
    else:
        seen[: first - top] = 0
        seen[last - top :] = 0
        if padding:
            seen[:, 0], seen[:, -1] = 0, 0


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
