"""What a handful of clips can say of a mean: intervals, sign-flip tests and the correction for many variants.

A number is one clip's, because speeches on one clip are not independent of each other. Every function gives the same
for the same numbers: the random draws start from a fixed seed.
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
"""Chance of a false alarm that is allowed for one measure in one arm, over all variants together."""
DRAWS: Final = 4095
"""Resamples of an interval, and of a test with too many clips to try every sign in good time (more than 11)."""
INTERVAL_CLIPS: Final = 3
"""Fewer clips give no interval."""
BCA_CLIPS: Final = 6
"""Fewer clips give a plain percentile interval: the acceleration of BCa is a skewness, which so few cannot tell."""
_SEED: Final = 20200


def mean_interval(values: Values) -> tuple[float, float, str]:
    """95 % bootstrap interval of the mean of float64 [N], and the method: ``BCa``, ``percentile`` or "" for none.

    BCa: Efron, "Better bootstrap confidence intervals", JASA 1987, by ``scipy.stats.bootstrap``. With few clips such
    intervals are too narrow: of 3 clips, three in four hold the truth rather than nineteen in twenty.
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
    """Two-sided p of float64 [N] paired differences under "each is as likely to have the other sign".

    Every pattern of signs is tried up to 11 differences, random ones beyond (Fisher, "The Design of Experiments", 1935,
    section 21; random draws with the observed one counted, Phipson and Smyth 2010). NaN for no differences.
    ``tests`` is how many such tests are corrected together: more need finer random draws.
    """
    if len(differences) < 2:
        # One difference is as large with either sign.
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
    """The smallest two-sided p that the sign-flip test can give for ``count`` differences; NaN for none."""
    return min(1.0, 2.0 ** (1 - count)) if count else math.nan


def clips_needed(tests: int = 1) -> int:
    """How many clips there must be before one of ``tests`` variants can differ at all: 6 for one."""
    return math.ceil(1 - math.log2(ALPHA / max(tests, 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number, in the order given; NaN stays NaN and does not count as a test.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979: the
    smallest times m, the next times m - 1 and so on, none below the one before it, none above 1.
    """
    adjusted = [math.nan] * len(p_values)
    order = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    floor = 0.0
    for rank, (p, index) in enumerate(order):
        floor = max(floor, min(1.0, (len(order) - rank) * p))
        adjusted[index] = floor
    return adjusted
