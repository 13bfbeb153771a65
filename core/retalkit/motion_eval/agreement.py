"""Agreement between a driver's predicted mouth motion and the speaker's tracked lips.

All series are sampled at 25 Hz, regardless of the clip's frame rate. The tracked lips were smoothed during tracking
with a Savitzky-Golay filter (5 frames, order 2). The predicted motion is smoothed with the identical filter before the
correlation is computed.

**Offset.** Clips have small delays between audio and lips. Each clip's delay is estimated first and compensated. The
estimate is the delay within 6 frames that maximises the sum of the opening and width correlations. A score at lag 0 is
therefore the maximum of 13 scores, and the expected score of unrelated motion is above 0. The chance score quantifies
this bias. To compute the chance score, the motion is shifted circularly by at least a second, the delay is estimated
and compensated, and the correlations are averaged over several shifts.

**Closures.** Consecutive frames with a gap below ``CONTACT_GAP`` form one contact. The contact's frame is the middle
one of the frames with the smallest gap. A contact is a closure if the gap exceeds twice ``CONTACT_GAP`` in at least one
of the six frames before the contact's frame and in at least one of the six frames after the contact's frame. A mouth at
rest therefore has no closures. Predicted closures are detected with the identical procedure in motion units. The
predicted gap is opening times (1 - closure), and the threshold is ``PREDICTED_CONTACT``. Recall is the fraction of
tracked closures with a predicted closure within two frames. Precision is the fraction of predicted closures with a
tracked closure within two frames.
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
MAX_OFFSET: Final = 6
"""Largest delay in the search range, in frames."""
LAGS: Final = 3
"""Largest lag around the compensated delay at which correlations are reported, in frames."""
CONTACT_GAP: Final = 0.03
"""Inner-lip gap below which lips count as closed, in units of the distance between the outer eye corners."""
PREDICTED_CONTACT: Final = 0.15
"""Predicted gap below which lips count as closed, in units of the speaker's wide mouth opening."""
TOLERANCE: Final = 2
"""Largest distance between a predicted closure and a matching tracked closure, in frames."""
_EVENT_RADIUS: Final = 6
"""Number of frames before and after a closure in which the lips must open."""
_SAVITZKY_GOLAY: Final = np.array([-3.0, 12.0, 17.0, 12.0, -3.0]) / 35.0
"""Coefficients of the Savitzky-Golay filter with length 5 and order 2."""


@dataclass(frozen=True, slots=True)
class Lips:
    """Tracked lips of a clip, float64 [N] at 25 Hz, with NaN where no face was found."""

    opening: Values
    """Inner-lip gap, in units of the distance between the outer eye corners."""
    width: Values
    start: float = 0.0
    """Time of the first value, in seconds from the start of the audio."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Mouth motion predicted by a driver, float64 [N + 2 * margin] at 25 Hz.

    The motion extends beyond the tracked lips by ``margin`` frames on both sides.
    """

    opening: Values
    width: Values
    gap: Values
    """Predicted gap: opening times (1 - closure)."""
    margin: int = MAX_OFFSET + LAGS

    def delayed(self, series: Values, frames: int) -> Values:
        """Return ``series``, one series of this motion, delayed by ``frames`` and cropped to the lips, float64 [N]."""
        first = self.margin - frames
        return series[first : first + len(series) - 2 * self.margin]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Scores of one clip after delay compensation. Undefined scores are NaN."""

    frames: int
    """Number of frames with a tracked face, at 25 Hz."""
    offset: int
    """Estimated and compensated delay of the lips relative to the audio, in frames (negative if the lips are early)."""
    opening: float
    """Pearson r of the opening at lag 0."""
    width: float
    opening_by_lag: tuple[float, ...]
    """Pearson r of the opening with the motion delayed by -3 to 3 additional frames."""
    width_by_lag: tuple[float, ...]
    uncorrected_opening: float
    """Pearson r of the opening without delay compensation."""
    uncorrected_width: float
    chance_opening: float
    """Mean Pearson r of unrelated motion after delay estimation and compensation."""
    chance_width: float
    lip_closures: int
    """Number of tracked closures."""
    recalled_closures: int
    """Number of tracked closures with a predicted closure within two frames."""
    predicted_closures: int
    correct_closures: int
    """Number of predicted closures with a tracked closure within two frames."""

    @property
    def best_opening(self) -> float:
        return max(self.opening_by_lag)

    @property
    def best_width(self) -> float:
        return max(self.width_by_lag)

    @property
    def recall(self) -> float:
        """Fraction of tracked closures with a predicted closure within two frames, or NaN without tracked closures."""
        return self.recalled_closures / self.lip_closures if self.lip_closures else float("nan")

    @property
    def precision(self) -> float:
        """Fraction of predicted closures with a tracked closure within two frames, or NaN without predictions."""
        return self.correct_closures / self.predicted_closures if self.predicted_closures else float("nan")


def predict_motion(driver: SpeechToMouth, speech: Speech, lips: Lips) -> Motion:
    """Run the driver for the time span of the lips, extended by the margin on both sides."""
    margin = MAX_OFFSET + LAGS
    times = lips.start + (np.arange(len(lips.opening) + 2 * margin) - margin) / GRID_RATE
    return prepare_motion(driver.motion(speech, times))


def prepare_motion(motion: MouthMotion) -> Motion:
    """Smooth opening and width with the filter of the tracked lips, and compute the gap from the unsmoothed opening."""
    opening = motion.opening.astype(np.float64)
    gap = opening * (1.0 - motion.closure)
    return Motion(smooth(opening), smooth(motion.width.astype(np.float64)), gap)


def smooth(series: Values) -> Values:
    """Apply the Savitzky-Golay filter with length 5 and order 2. Edge values pad the ends."""
    return sliding_window_view(np.pad(series, 2, mode="edge"), 5) @ _SAVITZKY_GOLAY


def estimate_offset(lips: Lips, motion: Motion) -> int:
    """Estimate the delay of the lips relative to the motion in frames. The module docstring describes the method."""
    sums = {frames: _correlation_sum(lips, motion, frames) for frames in range(-MAX_OFFSET, MAX_OFFSET + 1)}
    # If several delays have equal scores, the smallest delay is selected.
    return max(sums, key=lambda frames: (sums[frames], -abs(frames)))


def agreement(lips: Lips, motion: Motion) -> Agreement:
    """Compute all scores of one clip."""
    offset = estimate_offset(lips, motion)
    lags = [offset + lag for lag in range(-LAGS, LAGS + 1)]
    opening = tuple(correlation(lips.opening, motion.delayed(motion.opening, lag)) for lag in lags)
    width = tuple(correlation(lips.width, motion.delayed(motion.width, lag)) for lag in lags)
    chance_opening, chance_width = _chance(lips, motion)
    seen = np.isfinite(lips.opening)
    real = closure_events(lips.opening, CONTACT_GAP)
    predicted = closure_events(np.where(seen, motion.delayed(motion.gap, offset), np.nan), PREDICTED_CONTACT)
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
        recalled_closures=count_matches(real, predicted),
        predicted_closures=len(predicted),
        correct_closures=count_matches(predicted, real),
    )


def correlation(lips: Values, motion: Values) -> float:
    """Compute Pearson r over the frames in which both series are finite."""
    known = np.isfinite(lips) & np.isfinite(motion)
    return pearson(lips[known], motion[known])


def closure_events(gap: Values, contact: float) -> list[int]:
    """Return the frame indices of lip closures, as defined in the module docstring. NaN is neither open nor closed."""
    closed = np.concatenate([[False], gap < contact, [False]])
    edges = np.flatnonzero(np.diff(closed.astype(np.int8)))
    events: list[int] = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        least = first + np.flatnonzero(gap[first:last] <= gap[first:last].min() + 1e-9)
        frame = int(least[len(least) // 2])
        before = gap[max(0, frame - _EVENT_RADIUS) : frame]
        after = gap[frame + 1 : frame + 1 + _EVENT_RADIUS]
        if (before > 2 * contact).any() and (after > 2 * contact).any():
            events.append(frame)
    return events


def count_matches(events: list[int], others: list[int]) -> int:
    """Count the events that have a matching event in ``others`` within ``TOLERANCE`` frames."""
    return sum(any(abs(event - other) <= TOLERANCE for other in others) for event in events)


def _correlation_sum(lips: Lips, motion: Motion, frames: int) -> float:
    values = (
        correlation(lips.opening, motion.delayed(motion.opening, frames)),
        correlation(lips.width, motion.delayed(motion.width, frames)),
    )
    return float(np.nansum(values))


def _chance(lips: Lips, motion: Motion) -> tuple[float, float]:
    """Return the mean opening and width correlations with circularly shifted motion."""
    count, margin = len(lips.opening), motion.margin
    if count < 4 * GRID_RATE:
        return float("nan"), float("nan")
    rows: list[tuple[float, float]] = []
    for shift in range(GRID_RATE, count - GRID_RATE, 8):
        opening, width = (
            np.pad(np.roll(motion.delayed(each, 0), shift), margin, mode="wrap")
            for each in (motion.opening, motion.width)
        )
        shifted = Motion(opening, width, motion.gap)
        frames = estimate_offset(lips, shifted)
        rows.append(
            (
                correlation(lips.opening, shifted.delayed(shifted.opening, frames)),
                correlation(lips.width, shifted.delayed(shifted.width, frames)),
            )
        )
    table = np.array(rows)
    known = np.isfinite(table)
    with np.errstate(invalid="ignore"):
        means = np.where(known, table, 0.0).sum(axis=0) / known.sum(axis=0)
    return float(means[0]), float(means[1])
