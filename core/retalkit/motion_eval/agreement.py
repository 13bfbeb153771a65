"""How well a driver's mouth motion agrees with the lips of a person whose own voice drives it.

All series stand on a grid of 25 frames a second, whatever the clip's rate. The lips were smoothed when they were
tracked (Savitzky-Golay, 5 frames, order 2); the motion is smoothed likewise before it is correlated.

**Offset.** Clips carry small delays between sound and lips. Each clip's own delay is estimated first and taken out: of
the delays within 6 frames, the one at which the correlations of opening and width add up to most. So a score at lag 0
is already the best of 13, and unrelated motion does not score 0. What it scores is measured by the same steps on motion
that was turned round in time (shifted by at least a second, the end put at the beginning), and reported as chance.

**Closures.** Frames in a row with a gap below ``CONTACT_GAP`` are one contact, and its frame is the middle of those
with the least gap. It is a closure if the gap exceeds twice ``CONTACT_GAP`` in one of the six frames before that frame
and in one of the six after it; so a mouth that rests makes none. A closure that is asked is the same in units of the
motion: gap is opening times (1 - closure), and contact is ``CONTACT_ASKED``. Recall is the share of the lips' closures
that have an asked one within two frames; precision is the share of asked closures that have one of the lips within two
frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from retalkit.motion_eval.correlation import pearson
from retalkit.stages import MouthMotion, Speech, SpeechToMouth

Values = NDArray[np.float64]

GRID_RATE: Final = 25
MOST_OFFSET: Final = 6
"""Frames within which a clip's own delay is looked for."""
LAGS: Final = 3
"""Frames around the corrected delay at which correlations are reported."""
CONTACT_GAP: Final = 0.03
"""Gap of the inner lips, in distances between the outer eye corners, below which lips count as closed."""
CONTACT_ASKED: Final = 0.15
"""The same of asked motion, where 1 is a wide opening of this person."""
TOLERANCE: Final = 2
"""Frames by which an asked closure may miss the lips'."""
_NEAR: Final = 6
_PARABOLA: Final = np.array([-3.0, 12.0, 17.0, 12.0, -3.0]) / 35.0


@dataclass(frozen=True, slots=True)
class Lips:
    """What a person's lips did in a clip, float64 [N] at 25 frames a second, NaN where no face was found."""

    opening: Values
    """Gap of the inner lips, in distances between the outer eye corners."""
    width: Values
    start: float = 0.0
    """Seconds of the first value, on the clock of the sound."""


@dataclass(frozen=True, slots=True)
class Motion:
    """What a driver asks for, float64 [N + 2 * margin] at 25 frames a second; ``margin`` frames more than the lips on
    both sides."""

    opening: Values
    width: Values
    gap: Values
    """Opening times (1 - closure)."""
    margin: int = MOST_OFFSET + LAGS

    def delayed(self, series: Values, frames: int) -> Values:
        """``series`` (one of this motion) as the lips would follow it ``frames`` later, float64 [N]."""
        first = self.margin - frames
        return series[first : first + len(series) - 2 * self.margin]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Scores of one clip after its own delay was taken out; NaN where one is not defined."""

    frames: int
    """Frames that count, at 25 a second."""
    offset: int
    """Frames by which the lips come after the sound (negative: the mouth is ahead), estimated and taken out."""
    opening: float
    """Pearson r of the opening at lag 0."""
    width: float
    opening_by_lag: tuple[float, ...]
    """Pearson r with the motion delayed by -3 to 3 frames more."""
    width_by_lag: tuple[float, ...]
    uncorrected_opening: float
    """Pearson r of the opening without taking out any delay."""
    uncorrected_width: float
    chance_opening: float
    """Mean r of unrelated motion with the same way of taking out a delay."""
    chance_width: float
    lip_closures: int
    found_closures: int
    asked_closures: int
    right_closures: int

    @property
    def best_opening(self) -> float:
        return max(self.opening_by_lag)

    @property
    def best_width(self) -> float:
        return max(self.width_by_lag)

    @property
    def recall(self) -> float:
        """Share of the lips' closures that were asked within two frames; NaN without any."""
        return self.found_closures / self.lip_closures if self.lip_closures else float("nan")

    @property
    def precision(self) -> float:
        """Share of the asked closures that the lips made within two frames; NaN without any."""
        return self.right_closures / self.asked_closures if self.asked_closures else float("nan")


def ask(driver: SpeechToMouth, speech: Speech, lips: Lips) -> Motion:
    """The driver's motion for the time of the lips and the margin around it."""
    margin = MOST_OFFSET + LAGS
    times = lips.start + (np.arange(len(lips.opening) + 2 * margin) - margin) / GRID_RATE
    return as_motion(driver.motion(speech, times))


def as_motion(motion: MouthMotion) -> Motion:
    """Opening and width smoothed as the lips were; the gap as it is."""
    opening = motion.opening.astype(np.float64)
    gap = opening * (1.0 - motion.closure)
    return Motion(smoothed(opening), smoothed(motion.width.astype(np.float64)), gap)


def smoothed(series: Values) -> Values:
    """Savitzky-Golay over 5 values with a parabola; the ends are repeated."""
    return sliding_window_view(np.pad(series, 2, mode="edge"), 5) @ _PARABOLA


def estimated_offset(lips: Lips, motion: Motion) -> int:
    """Frames by which the lips come after the motion: see the module's text."""
    sums = {frames: _sum_at(lips, motion, frames) for frames in range(-MOST_OFFSET, MOST_OFFSET + 1)}
    # Of equals the one nearest to 0.
    return max(sums, key=lambda frames: (sums[frames], -abs(frames)))


def agreement(lips: Lips, motion: Motion) -> Agreement:
    """All scores of one clip."""
    offset = estimated_offset(lips, motion)
    lags = [offset + lag for lag in range(-LAGS, LAGS + 1)]
    opening = tuple(correlation(lips.opening, motion.delayed(motion.opening, lag)) for lag in lags)
    width = tuple(correlation(lips.width, motion.delayed(motion.width, lag)) for lag in lags)
    chance_opening, chance_width = _chance(lips, motion)
    seen = np.isfinite(lips.opening)
    real = closure_events(lips.opening, CONTACT_GAP)
    asked = closure_events(np.where(seen, motion.delayed(motion.gap, offset), np.nan), CONTACT_ASKED)
    return Agreement(
        frames=int(seen.sum()),
        offset=offset,
        opening=opening[LAGS],
        width=width[LAGS],
        opening_by_lag=opening,
        width_by_lag=width,
        uncorrected_opening=correlation(lips.opening, motion.delayed(motion.opening, 0)),
        uncorrected_width=correlation(lips.width, motion.delayed(motion.width, 0)),
        chance_opening=chance_opening,
        chance_width=chance_width,
        lip_closures=len(real),
        found_closures=_near(real, asked),
        asked_closures=len(asked),
        right_closures=_near(asked, real),
    )


def correlation(lips: Values, motion: Values) -> float:
    """Pearson r over the frames where both are known."""
    known = np.isfinite(lips) & np.isfinite(motion)
    return pearson(lips[known], motion[known])


def closure_events(gap: Values, contact: float) -> list[int]:
    """Frames at which the lips close between two openings: see the module's text. NaN is neither open nor closed."""
    closed = np.concatenate([[False], gap < contact, [False]])
    edges = np.flatnonzero(np.diff(closed.astype(np.int8)))
    events: list[int] = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        least = first + np.flatnonzero(gap[first:last] <= gap[first:last].min() + 1e-9)
        frame = int(least[len(least) // 2])
        before, after = gap[max(0, frame - _NEAR) : frame], gap[frame + 1 : frame + 1 + _NEAR]
        if (before > 2 * contact).any() and (after > 2 * contact).any():
            events.append(frame)
    return events


def _near(events: list[int], others: list[int]) -> int:
    return sum(any(abs(event - other) <= TOLERANCE for other in others) for event in events)


def _sum_at(lips: Lips, motion: Motion, frames: int) -> float:
    values = (
        correlation(lips.opening, motion.delayed(motion.opening, frames)),
        correlation(lips.width, motion.delayed(motion.width, frames)),
    )
    return float(np.nansum(values))


def _chance(lips: Lips, motion: Motion) -> tuple[float, float]:
    count, margin = len(lips.opening), motion.margin
    if count < 4 * GRID_RATE:
        return float("nan"), float("nan")
    rows: list[tuple[float, float]] = []
    for shift in range(GRID_RATE, count - GRID_RATE, 8):
        opening, width = (
            np.pad(np.roll(motion.delayed(each, 0), shift), margin, mode="wrap")
            for each in (motion.opening, motion.width)
        )
        turned = Motion(opening, width, motion.gap)
        frames = estimated_offset(lips, turned)
        rows.append(
            (
                correlation(lips.opening, turned.delayed(turned.opening, frames)),
                correlation(lips.width, turned.delayed(turned.width, frames)),
            )
        )
    table = np.array(rows)
    known = np.isfinite(table)
    with np.errstate(invalid="ignore"):
        means = np.where(known, table, 0.0).sum(axis=0) / known.sum(axis=0)
    return float(means[0]), float(means[1])
