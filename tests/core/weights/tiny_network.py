"""A network of two parameters, for checkpoints in tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def shapes() -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes."""
    return {"layer.weight": (2, 3), "layer.bias": (2,)}


def normed_shapes() -> dict[str, tuple[int, ...]]:
    """The same with the batch count of a batch norm."""
    return {**shapes(), "norm.num_batches_tracked": ()}


def larger_shapes() -> dict[str, tuple[int, ...]]:
    """The same names with a larger bias."""
    return {**shapes(), "layer.bias": (3,)}


def read_text(path: Path) -> dict[str, np.ndarray]:
    """Read a file that torch did not write: eight numbers as text."""
    numbers = np.array([float(word) for word in path.read_text(encoding="utf-8").split()], np.float32)
    return {"layer.weight": numbers[:6].reshape(2, 3), "layer.bias": numbers[6:8]}
