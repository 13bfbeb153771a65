"""Convolutions of 3 x 3 with a quarter of the products, for large pictures on a processor.

Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, F(4 x 4, 3 x 3): a tile of 6 x 6 pixels
becomes 36 numbers, each number is mixed over the channels by a matrix of its own, and 4 x 4 pixels come back. A few
rows of tiles at a time stay in the processor's cache; otherwise the additions would cost what the products save.

The polynomials are evaluated at 0, +-3/4, +-3/2 and infinity instead of the usual 0, +-1, +-2: all factors of the two
transforms of pictures are exact in float32, and the error is a quarter, that of a plain convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

TILE: Final = 4
_REACH: Final = TILE + 2
_CHUNK_BYTES: Final = 8 << 20
"""So many bytes of numbers are mixed at once."""
_NEAR: Final = 3 / 4
_FAR: Final = 3 / 2
_NEAR2, _FAR2 = _NEAR**2, _FAR**2


def _to_kernel() -> list[list[float]]:
    """[6, 3]: the numbers of three weights."""
    rows = [[1 / (_NEAR2 * _FAR2), 0.0, 0.0]]
    for point, other in ((_NEAR, _FAR), (_FAR, _NEAR)):
        scale = 1 / (2 * point**2 * (point**2 - other**2))
        rows += [[scale, sign * point * scale, point**2 * scale] for sign in (1, -1)]
    return [*rows, [0.0, 0.0, 1.0]]


def transformed(weight: Tensor) -> Tensor:
    """[36, inputs, outputs]: the mixing matrices of a kernel [outputs, inputs, 3, 3]."""
    to_kernel = torch.tensor(_to_kernel(), dtype=weight.dtype, device=weight.device)
    kernel = torch.einsum("ak,bl,oikl->abio", to_kernel, to_kernel, weight)
    return kernel.flatten(0, 1).contiguous()


def convolve(values: Tensor, matrices: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """What ``conv2d`` gives for the kernel of ``matrices`` (see ``transformed``), up to rounding.

    ``values`` [T, inputs, h, w], channels last, float32 on a processor; ``bias`` [outputs]; ``padding`` 0 or 1, of
    zeros. The result's height and width must be multiples of ``TILE``. Returns [T, outputs, h', w'], channels last.
    """
    height, width = (size + 2 * padding - 2 for size in values.shape[2:])
    outputs = matrices.shape[2]
    result = values.new_empty(len(values), height, width, outputs)
    for picture, target in zip(values.permute(0, 2, 3, 1), result, strict=True):
        _convolve_picture(picture, matrices, bias, padding, target)
    return result.permute(0, 3, 1, 2)


def _convolve_picture(picture: Tensor, matrices: Tensor, bias: Tensor | None, padding: int, target: Tensor) -> None:
    """``picture`` [h, w, inputs] to ``target`` [h', w', outputs]."""
    height, width, inputs = picture.shape
    down, across, outputs = target.shape[0] // TILE, target.shape[1] // TILE, target.shape[2]
    count = max(1, min(down, _CHUNK_BYTES // (36 * 4 * across * max(inputs, outputs))))
    new = picture.new_empty
    seen = picture.new_zeros(TILE * count + 2, TILE * across + 2, inputs)
    lines = new(6, count, TILE * across + 2, inputs)
    tiles = new(6, 6, count, across, inputs)
    mixed = new(6, 6, count, across, outputs)
    rows = new(TILE, 6, count, across, outputs)
    spare = new(4, max(lines[0].numel(), tiles[0].numel(), mixed[0].numel()))
    for start in range(0, down, count):
        # The last chunk reaches back: a part of it is computed twice, and all are alike.
        start = min(start, down - count)
        top = TILE * start - padding
        first, last = max(top, 0), min(top + len(seen), height)
        seen[: first - top] = 0
        seen[last - top :] = 0
        seen[first - top : last - top, padding : padding + width] = picture[first:last]
        _to_tiles([seen[k : k + TILE * count : TILE] for k in range(_REACH)], lines, spare)
        _to_tiles([lines[:, :, k : k + TILE * across : TILE] for k in range(_REACH)], tiles.transpose(0, 1), spare)
        torch.bmm(tiles.view(36, -1, inputs), matrices, out=mixed.view(36, -1, outputs))
        _to_pixels(list(mixed), rows, spare)
        pixels = target[TILE * start : TILE * (start + count)].view(count, TILE, across, TILE, outputs)
        _to_pixels(list(rows.transpose(0, 1)), pixels.permute(3, 1, 0, 2, 4), spare)
        if bias is not None:
            pixels += bias


def _to_tiles(values: Sequence[Tensor], out: Tensor, spare: Tensor) -> None:
    """Six numbers of six neighbours; ``out`` [6, ...] and each of ``values`` [...]."""
    first, second, third, fourth = (each[: out[0].numel()].view(out[0].shape) for each in spare)
    a, b, c, d, e, f = values
    torch.sub(e, c, alpha=_FAR2, out=first)
    torch.sub(d, b, alpha=_FAR2, out=second)
    torch.sub(e, c, alpha=_NEAR2, out=third)
    torch.sub(d, b, alpha=_NEAR2, out=fourth)
    torch.sub(e, c, alpha=_NEAR2 + _FAR2, out=out[0]).add_(a, alpha=_NEAR2 * _FAR2)
    torch.add(first, second, alpha=_NEAR, out=out[1])
    torch.sub(first, second, alpha=_NEAR, out=out[2])
    torch.add(third, fourth, alpha=_FAR, out=out[3])
    torch.sub(third, fourth, alpha=_FAR, out=out[4])
    torch.sub(f, d, alpha=_NEAR2 + _FAR2, out=out[5]).add_(b, alpha=_NEAR2 * _FAR2)


def _to_pixels(numbers: Sequence[Tensor], out: Tensor, spare: Tensor) -> None:
    """Four pixels of six numbers; ``out`` [4, ...] and each of ``numbers`` [...]."""
    first, second, third, fourth = (each[: out[0].numel()].view(out[0].shape) for each in spare)
    a, b, c, d, e, f = numbers
    torch.add(b, c, out=first)
    torch.sub(b, c, out=second)
    torch.add(d, e, out=third)
    torch.sub(d, e, out=fourth)
    ratio = _FAR / _NEAR
    torch.add(first, third, out=out[0]).add_(a)
    torch.add(second, fourth, alpha=ratio, out=out[1]).mul_(_NEAR)
    torch.add(first, third, alpha=ratio**2, out=out[2]).mul_(_NEAR2)
    torch.add(second, fourth, alpha=ratio**3, out=out[3]).mul_(_NEAR**3).add_(f)
