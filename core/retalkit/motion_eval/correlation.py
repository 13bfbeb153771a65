"""Pearson correlation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pearson(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the Pearson correlation of two series of equal length, or NaN if a series is (nearly) constant."""
    if len(first) < 2 or np.std(first) < 1e-6 or np.std(second) < 1e-6:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
