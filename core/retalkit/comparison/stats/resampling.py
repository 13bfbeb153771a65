"""Bootstrap intervals, sign-flip tests and Holm correction for small samples of clips.

Each observation is one clip, because the results for several speeches on one clip are not independent. All functions
are deterministic, because random resampling uses a fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]

ALPHA: Final = 0.05
"""Significance level for one measure in one arm over all variants (family-wise error rate)."""
DRAWS: Final = 4095
"""Number of resamples for intervals and for non-exhaustive tests. Tests of up to 11 clips are exhaustive."""
INTERVAL_CLIPS: Final = 3
"""Minimum number of clips for computing an interval."""
BCA_CLIPS: Final = 6
"""Minimum sample size for BCa. Smaller samples use percentiles, because their skewness cannot be estimated reliably."""
_SEED: Final = 20200


def mean_interval(values: Values) -> tuple[float, float, str]:
    """Return the limits of the 95 % bootstrap interval of the mean of ``values``, float64 [N], and the method's name.

    The method is ``BCa`` or ``percentile``, or an empty string for samples that are too small. BCa is described in
    Efron, "Better bootstrap confidence intervals", JASA 1987, and implemented in ``scipy.stats.bootstrap``. The
    intervals are too narrow for small samples. For 3 clips, the coverage is about 75 % instead of 95 %.
    """
    if len(values) < INTERVAL_CLIPS:
        return math.nan, math.nan, ""
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0]), "percentile"
    if len(values) >= BCA_CLIPS:
        low, high = _bootstrap(values, "BCa")
        if math.isfinite(low) and math.isfinite(high):
            return low, high, "BCa"
    low, high = _bootstrap(values, "percentile")
    return low, high, "percentile"


def _bootstrap(values: Values, method: str) -> tuple[float, float]:
    bootstrap: Any = stats.bootstrap
    found = bootstrap(
        (values,),
        np.mean,
        method=method,
        n_resamples=DRAWS,
        confidence_level=1.0 - ALPHA,
        batch=1000,
        random_state=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def sign_flip_p(differences: Values, tests: int = 1) -> float:
    """Return the two-sided p value of the sign-flip permutation test for paired differences, float64 [N].

    The test is exhaustive for up to 11 differences and uses random sign patterns for larger samples. The test is
    described in Fisher, "The Design of Experiments", 1935, section 21. The observed pattern is included in the count,
    as recommended by Phipson and Smyth (2010). The result is NaN for an empty sample. ``tests`` is the number of tests
    that are corrected jointly. A larger number of tests requires more random patterns.
    """
    if len(differences) < 2:
        # A single difference is equally extreme for both signs.
        return 1.0 if len(differences) else math.nan
    test: Any = stats.permutation_test
    found = test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=max(DRAWS, 100 * tests),
        batch=1000,
        random_state=np.random.default_rng(_SEED),
    )
    return min(1.0, float(found.pvalue))


def smallest_p(count: int) -> float:
    """Return the smallest attainable two-sided p value of the sign-flip test for ``count`` differences (NaN for 0)."""
    return min(1.0, 2.0 ** (1 - count)) if count else math.nan


def clips_needed(tests: int = 1) -> int:
    """Return the minimum number of clips for significance in a family of ``tests`` tests, which is 6 for one test."""
    return math.ceil(1 - math.log2(ALPHA / max(tests, 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p values in input order. NaN values remain NaN and do not count as tests.

    The method is described in Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 1979. In a family of m tests, the smallest p value is multiplied by m, the second smallest by m - 1, and
    so on. The products are made monotonic and limited to 1.
    """
    adjusted = [math.nan] * len(p_values)
    order = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    floor = 0.0
    for rank, (p, index) in enumerate(order):
        floor = max(floor, min(1.0, (len(order) - rank) * p))
        adjusted[index] = floor
    return adjusted
