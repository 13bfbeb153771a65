"""Metrics of evaluations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def area_under_curve(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the area under the ROC curve, the probability that a positive item has a higher score than a negative one.

    Equal scores count half. 0.5 corresponds to guessing.
    """
    positive = labels > 0.5
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return float("nan")
    ranks: NDArray[np.float64] = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))
