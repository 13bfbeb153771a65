"""Block-wise stream processing at fixed positions, so that the result does not depend on the input chunk sizes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class BlockStream:
    """Stream splitter that returns blocks of ``size`` samples with ``context`` additional samples on both sides.

    The context at the start and at the end of the stream is padded with zeros.
    """

    def __init__(self, size: int, context: int) -> None:
        self._size = size
        self._context = context
        self._waiting = np.zeros(context, dtype=np.float32)
        self._pending = 0

    def push(self, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Add samples, float32 [N] of any length, and return the completed blocks, float32 [size + 2 context] each."""
        self._pending += len(samples)
        self._waiting = np.concatenate([self._waiting, samples.astype(np.float32, copy=False)])
        return self._split()

    def finish(self) -> list[NDArray[np.float32]]:
        """Return the zero-padded blocks with the remaining samples."""
        count = -(-self._pending // self._size)
        missing = count * self._size + 2 * self._context - len(self._waiting)
        if count > 0:
            self._waiting = np.concatenate([self._waiting, np.zeros(max(missing, 0), dtype=np.float32)])
        return self._split()

    def _split(self) -> list[NDArray[np.float32]]:
        length = self._size + 2 * self._context
        blocks: list[NDArray[np.float32]] = []
        start = 0
        while len(self._waiting) - start >= length and self._pending > 0:
            blocks.append(self._waiting[start : start + length].copy())
            start += self._size
            self._pending -= self._size
        self._waiting = self._waiting[start:].copy()
        return blocks


def concatenate(pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the concatenated float32 arrays. If ``pieces`` is empty, the result is an empty array."""
    return np.concatenate([np.zeros(0, dtype=np.float32), *pieces])
