"""The search for the offset at which lips and sound are nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retalkit_metrics.syncnet.interface import REACH

Embeddings = NDArray[np.float32]
_EPSILON = 1e-6
"""What torch's ``pairwise_distance`` adds to each difference."""
_ROWS = 1024
"""Pairs compared at a time: 8 MB."""


@dataclass(frozen=True, slots=True)
class Synchrony:
    """What the distances of a clip say."""

    confidence: float
    """LSE-C: the median over all offsets minus the least; at least 0."""
    distance: float
    """LSE-D: the least."""
    offset: int
    """Frames by which the lips come after the sound, where the distance is least."""


def summed_distances(
    lips: Embeddings, sound: Embeddings, reach: int = REACH
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Embeddings [T, D] of the same T moments -> float64 [2 * reach + 1]: the sum of the distances between the lips and
    the sound ``reach`` frames earlier to ``reach`` frames later, and int64 [2 * reach + 1]: of how many pairs.

    The published evaluation gives every offset T pairs: it sets embeddings of 0 where there is no sound any more. That
    pulls the curve towards the size of an embedding at the far offsets, and more so the shorter the clip is, which
    changes LSE-C and can hide the offset. Here only pairs that exist are counted; in a long clip it is the same.
    """
    moments = len(lips)
    sums, pairs = np.zeros(2 * reach + 1), np.zeros(2 * reach + 1, np.int64)
    for index, later in enumerate(range(-reach, reach + 1)):
        first, last = max(0, -later), min(moments, moments - later)
        for start in range(first, last, _ROWS):
            stop = min(start + _ROWS, last)
            differences = lips[start:stop].astype(np.float64) - sound[start + later : stop + later] + _EPSILON
            sums[index] += np.linalg.norm(differences, axis=1).sum()
        pairs[index] = max(0, last - first)
    return sums, pairs


def synchrony(mean_distances: NDArray[np.float64]) -> Synchrony:
    """Reads the mean distance at each offset, [2 * reach + 1] from the sound ``reach`` frames earlier on."""
    best = int(mean_distances.argmin())
    least = float(mean_distances[best])
    reach = len(mean_distances) // 2
    return Synchrony(float(np.median(mean_distances)) - least, least, reach - best)
