"""Audio-visual offset, estimated with the speech-to-mouth driver.

The estimate is the delay at which the lips correlate best with the predicted motion
(``retalkit.motion_eval.agreement.estimate_offset``). Clips of one video are pooled, because estimates from a few
seconds are unreliable. The chance score is the mean score of motion that is shifted circularly by at least a second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from retalkit.motion_eval.agreement import GRID_RATE, LAGS, MAX_OFFSET, Lips, Motion, correlation, estimate_offset

Values = NDArray[np.float64]

MARGIN: Final = MAX_OFFSET + LAGS
"""Number of frames by which the predicted motion extends beyond the lips on both sides."""
LEAST_MARGIN: Final = 0.2
"""Minimum margin by which the score of a video whose lips follow the audio exceeds the chance score."""
MARGIN_SCALE: Final = 5.0
"""Margin times the square root of the number of frames.

In four real videos of 4 to 10 seconds, the scores exceeded the chance score by 0.8 to 1.3. In 15 pairs of lips with the
audio of another video, the difference was below this margin in 14 and 0.8 in one.
"""
SHORTEST: Final = 3 * GRID_RATE
"""Minimum length of tracked lips in frames. The estimate from shorter lips is not used."""
_SHIFTS: Final = 24
"""Number of circular shifts from which the chance score is computed."""


@dataclass(frozen=True, slots=True)
class OffsetEstimate:
    """Delay of the lips relative to the audio."""

    offset: int
    """Delay in frames of 0.04 s. It is negative if the lips are early."""
    score: float
    """Sum of the correlations of opening and width at this delay, or NaN if the lips or the motion are constant."""
    chance: float
    """Mean score of unrelated motion, or NaN if the lips are too short."""
    frames: int = 0
    """Number of frames with tracked lips."""

    @property
    def measurable(self) -> bool:
        """Whether the lips are long enough and move enough for an estimate."""
        return math.isfinite(self.score) and math.isfinite(self.chance)

    @property
    def follows(self) -> bool:
        """Whether the lips follow the audio, so that the offset is reliable."""
        return self.measurable and self.score > self.chance + self._margin

    @property
    def unrelated(self) -> bool:
        """Whether the lips do not follow the audio. Neither this nor ``follows`` is true of unclear cases."""
        return self.measurable and self.score < self.chance + self._margin / 2

    @property
    def _margin(self) -> float:
        return max(LEAST_MARGIN, MARGIN_SCALE / math.sqrt(max(self.frames, 1)))

    def plain(self) -> dict[str, Any]:
        """Return plain data for JSON files. NaN becomes None."""
        rounded = {name: round(value, 4) if math.isfinite(value) else None for name, value in asdict(self).items()}
        return {**rounded, "follows": self.follows, "unrelated": self.unrelated}


def estimate(pairs: Sequence[tuple[Values, Values]]) -> OffsetEstimate:
    """Estimate one offset from all clips of a video.

    Each pair contains the opening and width of the lips, float64 [T, 2] with NaN for frames without a face, and the
    predicted opening and width, float64 [T + 18, 2].
    """
    # Lips padded with NaN are as long as the motion, so that no lag mixes the values of two clips.
    gap = ((MARGIN, MARGIN), (0, 0))
    lips = np.concatenate([np.pad(each, gap, constant_values=np.nan) for each, _ in pairs])
    motion = np.pad(np.concatenate([each for _, each in pairs]), gap, mode="edge")
    mouth = Lips(lips[:, 0], lips[:, 1])
    offset = estimate_offset(mouth, _motion(motion))
    score = _score(lips, motion, offset)
    tracked = int(np.isfinite(lips).all(axis=1).sum())
    chance = _chance(mouth, lips, motion) if tracked >= SHORTEST and math.isfinite(score) else math.nan
    return OffsetEstimate(offset, score, chance, tracked)


def _motion(values: Values) -> Motion:
    return Motion(values[:, 0], values[:, 1], values[:, 0])


def _score(lips: Values, motion: Values, offset: int) -> float:
    delayed = _motion(motion).delayed(motion, offset)
    found = [correlation(lips[:, column], delayed[:, column]) for column in (0, 1)]
    known = [value for value in found if math.isfinite(value)]
    return sum(known) if known else math.nan


def _chance(mouth: Lips, lips: Values, motion: Values) -> float:
    inner = motion[MARGIN:-MARGIN]
    shifts = np.linspace(GRID_RATE, len(inner) - GRID_RATE, _SHIFTS).astype(int)
    scores: list[float] = []
    for shift in np.unique(shifts):
        moved = np.pad(np.roll(inner, int(shift), axis=0), ((MARGIN, MARGIN), (0, 0)), mode="wrap")
        scores.append(_score(lips, moved, estimate_offset(mouth, _motion(moved))))
    return float(np.mean(scores))
