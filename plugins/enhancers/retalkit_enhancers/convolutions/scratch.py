"""Memory for what a computation only holds for a moment."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

_ALIGNED: Final = 16
"""Numbers of float32 in a cache line."""


class Scratch:
    """A block of memory that one step after the other uses.

    The allocator gives large blocks back to the system at once, and a new block costs a page fault every 4 KiB:
    without this, a third of the time of a network with large pictures. Keep one for a call of a network, not longer.
    """

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def take(self, like: Tensor, *shapes: tuple[int, ...]) -> list[Tensor]:
        """Tensors of these shapes, not filled, of the type and on the device of ``like``.

        What was taken before must not be used any more.
        """
        sizes = [-(-math.prod(shape) // _ALIGNED) * _ALIGNED for shape in shapes]
        memory = self._memory
        fits = memory is not None and memory.dtype == like.dtype and memory.device == like.device
        if memory is None or not fits or len(memory) < sum(sizes):
            # The old block goes before the new one comes.
            self._memory = None
            memory = self._memory = torch.empty(sum(sizes), dtype=like.dtype, device=like.device)
        parts = memory[: sum(sizes)].split(sizes)
        return [part[: math.prod(shape)].view(shape) for part, shape in zip(parts, shapes, strict=True)]
