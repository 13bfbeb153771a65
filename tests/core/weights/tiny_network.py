"""A network of two parameters, for checkpoints in tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def shapes() -> dict[str, tuple[int, ...]]:
    """What the network takes."""
    return {"layer.weight": (2, 3), "layer.bias": (2,)}


def normed_shapes() -> dict[str, tuple[int, ...]]:
    """The same with a batch norm's count."""
    return {**shapes(), "norm.num_batches_tracked": ()}


def read_text(path: Path) -> dict[str, np.ndarray]:
    """A published file that is no torch file: eight numbers."""
    numbers = np.array([float(word) for word in path.read_text(encoding="utf-8").split()], np.float32)
    return {"layer.weight": numbers[:6].reshape(2, 3), "layer.bias": numbers[6:8]}
