"""Storage for per-frame results of slow stages, which allows an interrupted run to resume at the next frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retalkit.stages import StageCache


class FrameStore:
    """Lossless storage for per-frame arrays in a stage's cache.

    ``name`` distinguishes several stores of one stage. A cache belongs to one stage, configuration and input, so the
    frame index identifies a result. The store is intended for stages that are slower than reading from disk, such as
    neural networks.
    """

    def __init__(self, cache: StageCache, name: str) -> None:
        self._cache = cache
        self._name = name

    def get(self, index: int) -> dict[str, NDArray[Any]] | None:
        """Return the arrays stored for a frame, or None if no arrays are stored."""
        path = self._cache.path(self._file(index))
        if path is None:
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def put(self, index: int, **arrays: NDArray[Any]) -> None:
        """Store arrays for a frame atomically."""
        with self._cache.write(self._file(index)) as path, path.open("wb") as file:
            # Compressing the arrays of a face takes 0.05 s, which is short compared with network inference, and halves
            # the disk usage.
            np.savez_compressed(file, **arrays)

    def _file(self, index: int) -> str:
        return f"{self._name}-{index:07d}.npz"
