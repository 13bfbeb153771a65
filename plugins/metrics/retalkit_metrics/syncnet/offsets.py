"""Search for the offset with the minimum distance between lip and audio embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retalkit_metrics.syncnet.interface import REACH

Embeddings = NDArray[np.float32]
_EPSILON = 1e-6
"""Constant that is added to each difference, as in torch's ``pairwise_distance``."""
_ROWS = 1024
"""Maximum number of pairs that are compared at a time, which limits the memory use to 8 MB."""


@dataclass(frozen=True, slots=True)
class Synchrony:
    """Synchrony scores of a clip."""

    confidence: float
    """LSE-C: median distance over all offsets minus the minimum distance. The value is at least 0."""
    distance: float
    """LSE-D: minimum distance over all offsets."""
    offset: int
    """Delay of the lips relative to the audio at the minimum distance, in frames."""


def distance_sums(
    lips: Embeddings, sound: Embeddings, reach: int = REACH
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the sum of lip-audio distances and the number of pairs for each audio offset.

    Offsets range from ``-reach`` to ``reach`` frames. The embeddings [T, D] of lips and audio cover identical time
    steps. The sums are float64 [2 * reach + 1], and the numbers of pairs are int64 [2 * reach + 1].

    The published evaluation uses T pairs for every offset, with zero embeddings beyond the end of the audio. At large
    offsets, the zero embeddings bias the mean distance towards the norm of an embedding. This bias is stronger in short
    clips, changes LSE-C and can hide the correct offset. This function therefore counts only existing pairs. In long
    clips, both methods yield nearly identical results.
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
    """Return the scores for mean distances [2 * reach + 1] at audio offsets from ``-reach`` to ``reach``."""
    best = int(mean_distances.argmin())
    minimum = float(mean_distances[best])
    reach = len(mean_distances) // 2
    return Synchrony(float(np.median(mean_distances)) - minimum, minimum, reach - best)
