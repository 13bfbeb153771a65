"""Results of a slow stage, frame by frame: a run that is killed goes on at the frame where it stopped."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retalkit.stages import StageCache


class FrameStore:
    """Arrays of single frames in a stage's cache, without loss.

    ``name`` tells apart what one stage stores. A cache belongs to one stage, configuration and input, so that an index
    is all that a result needs. Worth it for a stage that takes longer for a frame than a disk: a network.
    """

    def __init__(self, cache: StageCache, name: str) -> None:
        self._cache = cache
        self._name = name

    def get(self, index: int) -> dict[str, NDArray[Any]] | None:
        """The arrays of that frame, or None where they are not stored."""
        path = self._cache.path(self._file(index))
        if path is None:
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def put(self, index: int, **arrays: NDArray[Any]) -> None:
        """Stores the arrays of a frame; they appear whole or not at all."""
        with self._cache.write(self._file(index)) as path, path.open("wb") as file:
            # A twentieth of a second for a face: little beside a network, and half of its place on the disk.
            np.savez_compressed(file, **arrays)

    def _file(self, index: int) -> str:
        return f"{self._name}-{index:07d}.npz"
