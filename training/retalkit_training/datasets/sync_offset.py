"""Audio-visual offset of a video, estimated with the speech-to-mouth driver."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from retalkit.motion_eval.agreement import GRID_RATE, Lips, Motion, agreement

Values = NDArray[np.float64]

FOLLOWS: Final = 0.1
"""Margin by which the sum of the opening and width correlations must exceed the chance score in a video whose lips
follow the audio."""
SHORTEST: Final = 4 * GRID_RATE
"""Minimum length of tracked lips in frames. The chance score of shorter clips is undefined."""


@dataclass(frozen=True, slots=True)
class OffsetEstimate:
    """Delay of the lips relative to the audio."""

    offset: int
    """Delay in frames of 0.04 s. It is negative if the lips are early."""
    score: float
    """Sum of the correlations of opening and width at this delay."""
    chance: float
    """Expected score of unrelated motion, or NaN if the lips are too short."""

    @property
    def measurable(self) -> bool:
        """Whether the lips are long enough and move enough for an estimate."""
        return math.isfinite(self.score) and math.isfinite(self.chance)

    @property
    def follows(self) -> bool:
        """Whether the lips follow the audio."""
        return self.measurable and self.score > self.chance + FOLLOWS

    def plain(self) -> dict[str, Any]:
        rounded = {name: round(value, 4) if math.isfinite(value) else None for name, value in asdict(self).items()}
        return {**rounded, "follows": self.follows, "measurable": self.measurable}


def estimate(lips: Values, motion: Values) -> OffsetEstimate:
    """Estimate the offset from the opening and width of the lips [T, 2] and of the predicted motion [T + 18, 2]."""
    found = agreement(
        Lips(lips[:, 0], lips[:, 1]),
        Motion(motion[:, 0], motion[:, 1], motion[:, 0]),
    )
    tracked = int(np.isfinite(lips).all(axis=1).sum())
    chance = found.chance_opening + found.chance_width if tracked >= SHORTEST else math.nan
    known = [value for value in (found.opening, found.width) if math.isfinite(value)]
    return OffsetEstimate(found.offset, sum(known) if known else math.nan, chance)
