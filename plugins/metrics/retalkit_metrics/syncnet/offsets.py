"""Search for the offset at which the embeddings of lips and audio are closest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retalkit_metrics.syncnet.interface import REACH

Embeddings = NDArray[np.float32]
_EPSILON = 1e-6
"""Added to each difference, as in torch's ``pairwise_distance``."""
_ROWS = 1024
"""Pairs compared at a time (8 MB)."""


@dataclass(frozen=True, slots=True)
class Synchrony:
    """Synchrony scores of a clip."""

    confidence: float
    """LSE-C: the median over all offsets minus the minimum; at least 0."""
    distance: float
    """LSE-D: the minimum."""
    offset: int
    """Delay of the lips relative to the audio in frames, at the minimum distance."""


def distance_sums(
    lips: Embeddings, sound: Embeddings, reach: int = REACH
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum the distances of lips and audio for each offset from ``-reach`` to ``reach`` frames of the audio.

    Takes embeddings [T, D] of the same T steps. Returns the sums, float64 [2 * reach + 1], and the numbers of pairs,
    int64 [2 * reach + 1].

    The published evaluation uses T pairs for every offset and zero embeddings beyond the end of the audio. This pulls
    the curve towards the norm of an embedding at large offsets, more so in short clips, which changes LSE-C and can
    hide the offset. Here, only existing pairs count; in long clips the result is the same.
    """
    steps = len(lips)
    sums, pairs = np.zeros(2 * reach + 1), np.zeros(2 * reach + 1, np.int64)
    for index, shift in enumerate(range(-reach, reach + 1)):
        first, last = max(0, -shift), min(steps, steps - shift)
        for start in range(first, last, _ROWS):
            stop = min(start + _ROWS, last)
            differences = lips[start:stop].astype(np.float64) - sound[start + shift : stop + shift] + _EPSILON
            sums[index] += np.linalg.norm(differences, axis=1).sum()
        pairs[index] = max(0, last - first)
    return sums, pairs


def synchrony(mean_distances: NDArray[np.float64]) -> Synchrony:
    """Compute the scores from the mean distance at each audio offset from ``-reach`` to ``reach``, [2 * reach + 1]."""
    best = int(mean_distances.argmin())
    minimum = float(mean_distances[best])
    reach = len(mean_distances) // 2
    return Synchrony(float(np.median(mean_distances)) - minimum, minimum, reach - best)
