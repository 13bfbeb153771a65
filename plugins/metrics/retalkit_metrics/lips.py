"""Metric ``lips``, which compares the video's lip motion with a reference person who speaks identical words.

One tracker measures both lip motions at 25 values per second. The video's lag is estimated as in
``retalkit.motion_eval.agreement``, within 6 frames and at the largest sum of the opening and width correlations. All
other measures are computed after lag compensation. A lag at the edge of the search range is compensated but not
reported, because the true lag may be larger.

Correlations do not depend on the size of a person's mouth, and closures are lip contacts. Any person can therefore
serve as the reference for these measures. The opening difference depends on the mouth size. It is defined only if the
reference is the same person, which requires that the scene contains the ground truth (``truth``).

A closure in one of the two motions is a hit if the lip gap in the other motion at that time is at most 1.5 times the
gap of a definite contact. The tolerance is necessary because the contact threshold is as small as the tracker's jitter.

In frames in which the video lost a face that the unedited clip shows, the mouth is treated as motionless, half open and
without closures. Otherwise, a method that destroys the face in difficult frames would be evaluated only on easy frames.

If the mouth is motionless and the reference moves, the correlation is 0 instead of NaN. Otherwise, the worst result
would be excluded from the means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.metrics import TRUTH, Scores
from retalkit.metrics.scene import MetricSession, Scene, faces_kept
from retalkit.motion_eval.agreement import (
    CONTACT_GAP,
    GRID_RATE,
    LAGS,
    MAX_OFFSET,
    TOLERANCE,
    Lips,
    Motion,
    closure_events,
    estimate_offset,
)
from retalkit.motion_eval.clips import measure_lips
from retalkit.motion_eval.correlation import pearson

from retalkit_metrics.mouth_at_rest import face_height
from retalkit_metrics.sessions import FramelessSession

Values = NDArray[np.float64]

MIN_VALUES = 25
"""Minimum number of values that the two time series must have in common."""
STILL = 0.003
"""Maximum standard deviation of a motionless mouth, in units of the outer eye corner distance. The tracker's jitter on
a repeated image is up to 0.002. The value for a speaking mouth is about 0.05.
"""
POSSIBLE_CONTACT = 1.5
"""Maximum gap of a possible contact relative to the gap of a definite contact."""
MEASURES = ("opening_r", "width_r", "lip_lag", "opening_error", "closure_hits", "closure_precision")


class LipsMetric:
    """Metric ``lips``, which requires only the tracked lips and no frames."""

    def open(self, scene: Scene) -> MetricSession:
        return FramelessSession(lambda: _scores(scene))


def _scores(scene: Scene) -> Scores:
    if scene.output is None or scene.lips is None:
        return dict.fromkeys(MEASURES, float("nan"))
    height = face_height(scene.output) if TRUTH in scene.ports else float("nan")
    lips = measure_lips(scene.output)
    return lip_scores(lips, scene.lips, height, _lost_frames(scene, lips))


def _lost_frames(scene: Scene, lips: Lips) -> NDArray[np.bool_]:
    """Return a mask of values in ``lips`` at which the video lost a face that the unedited clip shows, bool [N]."""
    expected, kept = faces_kept(scene)
    times = scene.source.times(0, len(expected))
    grid = lips.start + np.arange(len(lips.opening)) / GRID_RATE
    frames = np.clip(np.searchsorted(times, grid + 1e-6, side="right") - 1, 0, len(times) - 1)
    return (expected & ~kept)[frames]


def lip_scores(
    lips: Lips, reference: Lips, height: float = float("nan"), lost: NDArray[np.bool_] | None = None
) -> Scores:
    """Return the measures of ``lips``.

    ``height``: face height in the unit of the lips, or NaN if the reference is a different person. ``lost``: mask of
    values at which the video lost the face, bool [N]. The measures are NaN if the series overlap by less than a second
    or the reference is motionless. The lag is also NaN at the edge of the search range.
    """
    gap = lips.opening
    if lost is not None and lost.any() and np.isfinite(gap).any():
        opening, width = (
            np.where(lost & ~np.isfinite(series), np.nanmean(series), series) for series in (lips.opening, lips.width)
        )
        lips = Lips(opening, width, lips.start)
    motion = _resample(reference, lips)
    lag = estimate_offset(lips, motion)
    opening, width = motion.delayed(motion.opening, lag), motion.delayed(motion.width, lag)
    common = np.isfinite(lips.opening) & np.isfinite(opening)
    if int(common.sum()) < MIN_VALUES:
        return dict.fromkeys(MEASURES, float("nan"))
    opening_r, width_r = _correlation(lips.opening, opening), _correlation(lips.width, width)
    # At the edge of the search range, a larger lag could yield a larger sum.
    inside = abs(lag) < MAX_OFFSET
    moves = any(np.std(series[common]) > STILL for series in (lips.opening, lips.width))
    expected, actual = (_Closures.detect(np.where(common, values, np.nan)) for values in (opening, gap))
    return {
        "opening_r": opening_r,
        "width_r": width_r,
        "lip_lag": float(lag) if inside and moves and np.isfinite([opening_r, width_r]).any() else float("nan"),
        "opening_error": float(np.abs(lips.opening - opening)[common].mean()) * 100.0 / height,
        "closure_hits": _share_matched(expected.definite, actual.possible),
        "closure_precision": _share_matched(actual.definite, expected.possible),
    }


def _resample(reference: Lips, lips: Lips) -> Motion:
    """Return the reference, resampled to the time steps of ``lips`` with a margin for the lag search.

    Values outside the reference are NaN.
    """
    margin = MAX_OFFSET + LAGS
    times = lips.start + (np.arange(len(lips.opening) + 2 * margin) - margin) / GRID_RATE
    # Positions are in reference frames. Rounding prevents a floating-point error from discarding the last value.
    positions = np.round((times - reference.start) * GRID_RATE, 6)
    samples = np.arange(len(reference.opening))
    opening, width = (
        np.interp(positions, samples, series, left=np.nan, right=np.nan)
        for series in (reference.opening, reference.width)
    )
    return Motion(opening, width, opening, margin)


def _correlation(values: Values, reference: Values) -> float:
    common = np.isfinite(values) & np.isfinite(reference)
    if not common.any() or np.std(reference[common]) <= STILL:
        return float("nan")
    return pearson(values[common], reference[common]) if np.std(values[common]) > STILL else 0.0


@dataclass(frozen=True, slots=True)
class _Closures:
    """Frame indexes at which the lips close."""

    definite: list[int]
    possible: list[int]
    """Frame indexes of definite closures, and of closures whose gap is slightly above the contact threshold. In a
    re-encoded copy, the tracked gap of a closure may be slightly above or below the threshold.
    """

    @classmethod
    def detect(cls, gap: Values) -> _Closures:
        definite = closure_events(gap, CONTACT_GAP)
        return cls(definite, [*definite, *closure_events(gap, POSSIBLE_CONTACT * CONTACT_GAP)])


def _share_matched(events: list[int], others: list[int]) -> float:
    """Return the share of ``events`` that are within two frames of an event in ``others``, or NaN without events."""
    if not events:
        return float("nan")
    return sum(any(abs(event - other) <= TOLERANCE for other in others) for event in events) / len(events)
