"""Confidence intervals of correlations by a nested block bootstrap over clips and one-second blocks.

The block bootstrap is described in Künsch, "The jackknife and the bootstrap for general stationary observations",
Annals of Statistics 1989.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

DRAWS = 2000
BLOCK = 25
"""Number of consecutive values per resampled block. Blocks are used because neighbouring values are correlated."""


def correlation_draws(
    first: Values, second: Values, generator: np.random.Generator, draws: int = DRAWS, block: int = BLOCK
) -> Values:
    """Return Pearson correlations for resampled blocks of two series [N], float64 [draws].

    Non-finite values are ignored.
    """
    known = np.isfinite(first) & np.isfinite(second)
    starts = np.arange(0, len(first), block)
    a, b = np.where(known, first, 0.0), np.where(known, second, 0.0)
    columns = [known.astype(np.float64), a, b, a * a, b * b, a * b]
    sums = np.stack([np.add.reduceat(column, starts) for column in columns], axis=1)
    drawn = sums[generator.integers(0, len(starts), (draws, len(starts)))].sum(axis=1)
    count, sum_a, sum_b, aa, bb, ab = drawn.T
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = ab - sum_a * sum_b / count
        spread = np.sqrt((aa - sum_a**2 / count) * (bb - sum_b**2 / count))
        return np.where(spread > 1e-12, covariance / spread, np.nan)


def interval(draws: Values, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of the draws. The limits are NaN if all draws are NaN."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return float("nan"), float("nan")
    tail = 50.0 * (1.0 - level)
    return float(np.percentile(finite, tail)), float(np.percentile(finite, 100.0 - tail))


def mean_interval(clips: Sequence[Values], generator: np.random.Generator, level: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of the mean over clips, which is computed by resampling clips and their draws."""
    table = np.stack(list(clips))
    chosen = generator.integers(0, len(table), (table.shape[1], len(table)))
    drawn = table[chosen, np.arange(table.shape[1])[:, None]]
    known = np.isfinite(drawn)
    with np.errstate(invalid="ignore"):
        return interval(np.where(known, drawn, 0.0).sum(axis=1) / known.sum(axis=1), level)
