"""Cuts a stream of samples into blocks at fixed positions, so that results do not depend on how it arrived."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Blocks:
    """Gives blocks of ``size`` samples with ``context`` samples on both sides, zeros before 0 and after the end."""

    def __init__(self, size: int, context: int) -> None:
        self._size = size
        self._context = context
        self._waiting = np.zeros(context, dtype=np.float32)
        self._owed = 0

    def push(self, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """float32 [N] of any length -> the blocks, float32 [size + 2 context] each, that are now complete."""
        self._owed += len(samples)
        self._waiting = np.concatenate([self._waiting, samples.astype(np.float32, copy=False)])
        return self._cut()

    def finish(self) -> list[NDArray[np.float32]]:
        """The blocks that cover the rest, filled up with zeros."""
        count = -(-self._owed // self._size)
        missing = count * self._size + 2 * self._context - len(self._waiting)
        if count > 0:
            self._waiting = np.concatenate([self._waiting, np.zeros(max(missing, 0), dtype=np.float32)])
        return self._cut()

    def _cut(self) -> list[NDArray[np.float32]]:
        whole = self._size + 2 * self._context
        blocks: list[NDArray[np.float32]] = []
        start = 0
        while len(self._waiting) - start >= whole and self._owed > 0:
            blocks.append(self._waiting[start : start + whole].copy())
            start += self._size
            self._owed -= self._size
        self._waiting = self._waiting[start:].copy()
        return blocks


def joined(pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """All pieces in a row, also when there are none."""
    return np.concatenate([np.zeros(0, dtype=np.float32), *pieces])
