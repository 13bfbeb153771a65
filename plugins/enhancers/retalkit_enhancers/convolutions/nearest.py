"""Convolutions of 3 x 3 of a picture whose pixels were doubled, at a quarter of the products, on a processor.

In one direction, with the kernel (a, b, c) and d_i = x_(i+1) - x_i between neighbours, the two results beside each
other are (a + b + c) x_i - a d_(i-1) and (a + b + c) x_i + c d_i: three products in place of six. In both directions
nine in place of 36. Mirrored borders of the doubled picture repeat its outermost pixel: a difference of 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from retalkit_enhancers.convolutions.scratch import Scratch

_CHUNK_BYTES: Final = 8 << 20
"""So many bytes of products are made at once."""


@dataclass(frozen=True, slots=True)
class DoublingKernel:
    """A kernel, ready for use."""

    pixels: Tensor
    """[inputs, outputs]: for the pixels themselves."""
    across: Tensor
    """[inputs, 2 outputs]: for their differences from left to right; left result, then right."""
    down: Tensor
    """[inputs, 2 outputs]: for their differences from top to bottom; upper result, then lower."""
    both: Tensor
    """[inputs, 4 outputs]: for the differences of the differences; upper left, upper right, lower left, lower right."""


def ready(weight: Tensor) -> DoublingKernel:
    """The kernel of [outputs, inputs, 3, 3]."""
    factors = torch.tensor([[1, 1, 1], [-1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    parts = torch.einsum("ak,bl,oikl->abio", factors, factors, weight.double().cpu()).to(weight)
    return DoublingKernel(
        parts[0, 0].contiguous(),
        torch.cat((parts[0, 1], parts[0, 2]), 1),
        torch.cat((parts[1, 0], parts[2, 0]), 1),
        torch.cat((parts[1, 1], parts[1, 2], parts[2, 1], parts[2, 2]), 1),
    )


def draw(picture: Tensor, kernel: DoublingKernel, bias: Tensor, target: Tensor, scratch: Scratch) -> None:
    """What ``conv2d`` gives for the doubled, mirrored picture, up to rounding.

    ``picture`` [h, w, inputs], ``bias`` [outputs], ``target`` [2h, 2w, outputs].
    """
    height, width, inputs = picture.shape
    outputs = len(bias)
    most = max(1, min(height, _CHUNK_BYTES // (9 * 4 * width * outputs)))
    count = -(-height // -(-height // most))
    for start in range(0, height, count):
        rows = min(count, height - start)
        pixels, across, down, both, plain, wide, high, corner = scratch.take(
            picture,
            (rows, width, inputs),
            (rows, width + 1, inputs),
            (rows + 1, width, inputs),
            (rows + 1, width + 1, inputs),
            (rows, width, outputs),
            (rows, width + 1, 2 * outputs),
            (rows + 1, width, 2 * outputs),
            (rows + 1, width + 1, 4 * outputs),
        )
        pixels.copy_(picture[start : start + rows])
        torch.sub(pixels[:, 1:], pixels[:, :-1], out=across[:, 1:-1])
        # Differences to the row above the first and below the last; there are none outside.
        first, last = max(start, 1), min(start + rows, height - 1)
        inner = slice(first - start, last - start + 1)
        torch.sub(picture[first : last + 1], picture[first - 1 : last], out=down[inner])
        down[: inner.start], down[inner.stop :] = 0, 0
        torch.sub(down[:, 1:], down[:, :-1], out=both[:, 1:-1])
        for each in (across, both):
            each[:, 0], each[:, -1] = 0, 0
        torch.addmm(bias, pixels.view(-1, inputs), kernel.pixels, out=plain.view(-1, outputs))
        for values, weight, result in (
            (across, kernel.across, wide),
            (down, kernel.down, high),
            (both, kernel.both, corner),
        ):
            torch.mm(values.view(-1, inputs), weight, out=result.view(-1, result.shape[2]))
        _gather(plain, wide, high, corner, target[2 * start : 2 * (start + rows)])


def _gather(plain: Tensor, wide: Tensor, high: Tensor, corner: Tensor, target: Tensor) -> None:
    """Adds up the products of ``draw`` for ``target`` [2 rows, 2w, outputs]."""
    rows, width, outputs = plain.shape
    pixels = target.unflatten(1, (width, 2)).unflatten(0, (rows, 2))
    left, right = wide[:, :-1, :outputs], wide[:, 1:, outputs:]
    left += plain
    right += plain
    for lower in (0, 1):
        lines = slice(lower, lower + rows)
        beside = high[lines, :, lower * outputs : (lower + 1) * outputs]
        for column, own in ((0, left), (1, right)):
            place = 2 * lower + column
            part = corner[lines, column : column + width, place * outputs : (place + 1) * outputs]
            part += beside
            torch.add(part, own, out=pixels[:, lower, :, column])
