"""The metric ``lips``: how the lips in the video move, against those of somebody who really says the words.

Both are tracked by the same tracker and stand on a grid of 25 values a second. The video's own lag is estimated as in
``retalkit.motion_eval.agreement`` (within 6 frames: where the correlations of opening and width add up to most)
and taken out before anything else is measured. One at the edge of that search is no lag that was found, so it is taken
out and not given. A correlation does not feel another person's scale, and closures are
contacts of the lips, so the reference may be anybody; a difference of openings does feel it, and is only given where
the scene says that the clip shows the same words (``truth``): then the reference is the same person.

A closure is a hit if the other lips come within 1.5 times the gap of a sure contact at that time, because the limit is
as small as the tracker's jitter.

Where the video has lost a face that the unedited clip shows, the mouth counts as one that stands still, half open, and
closes for nothing: else a method that destroys the face in the hard frames would be scored on the easy ones.

A mouth that stands still while the reference's moves has the correlation 0, not none: else the worst result of all
would drop out of the means.
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

from retalkit_metrics.quiet_mouth import face_height
from retalkit_metrics.sessions import WithoutFrames

Values = NDArray[np.float64]

SHORTEST = 25
"""Values that both must have in common; below, nothing is measured."""
STILL = 0.003
"""Standard deviation, in distances between the outer eye corners, up to which a mouth stands still: the tracker's
jitter on one picture shown again and again is up to 0.002, a mouth that talks has about 0.05."""
NEARLY = 1.5
"""Times the gap of a sure contact up to which lips may have touched."""
MEASURES = ("opening_r", "width_r", "lip_lag", "opening_error", "closure_hits", "closure_precision")


class LipsMetric:
    """Reads the tracked lips; looks at no frame."""

    def open(self, scene: Scene) -> MetricSession:
        return WithoutFrames(lambda: _scores(scene))


def _scores(scene: Scene) -> Scores:
    if scene.output is None or scene.lips is None:
        return dict.fromkeys(MEASURES, float("nan"))
    height = face_height(scene.output) if TRUTH in scene.ports else float("nan")
    shown = measure_lips(scene.output)
    return lip_scores(shown, scene.lips, height, _lost(scene, shown))


def _lost(scene: Scene, shown: Lips) -> NDArray[np.bool_]:
    """bool, on the grid of ``shown``: the unedited clip shows a face and the video has none."""
    there, kept = faces_kept(scene)
    times = scene.source.times(0, len(there))
    grid = shown.start + np.arange(len(shown.opening)) / GRID_RATE
    at = np.clip(np.searchsorted(times, grid + 1e-6, side="right") - 1, 0, len(times) - 1)
    return (there & ~kept)[at]


def lip_scores(
    shown: Lips, reference: Lips, height: float = float("nan"), lost: NDArray[np.bool_] | None = None
) -> Scores:
    """The measures of ``lips``. ``height`` is the face height in the lips' unit, NaN where the reference is another
    person; ``lost`` bool [N] says where the video lost the face. NaN for what is not defined: less than a second in
    common, a reference that stands still, a lag at the edge of the search."""
    contacts = shown.opening
    if lost is not None and lost.any() and np.isfinite(contacts).any():
        opening, width = (
            np.where(lost & ~np.isfinite(each), np.nanmean(each), each) for each in (shown.opening, shown.width)
        )
        shown = Lips(opening, width, shown.start)
    motion = _as_asked(reference, shown)
    lag = estimate_offset(shown, motion)
    opening, width = motion.delayed(motion.opening, lag), motion.delayed(motion.width, lag)
    known = np.isfinite(shown.opening) & np.isfinite(opening)
    if int(known.sum()) < SHORTEST:
        return dict.fromkeys(MEASURES, float("nan"))
    opening_r, width_r = _correlation(shown.opening, opening), _correlation(shown.width, width)
    # At the edge the sum may go on rising beyond it.
    found = abs(lag) < MAX_OFFSET
    moves = any(np.std(each[known]) > STILL for each in (shown.opening, shown.width))
    real, made = (_Closures.of(np.where(known, gap, np.nan)) for gap in (opening, contacts))
    return {
        "opening_r": opening_r,
        "width_r": width_r,
        "lip_lag": float(lag) if found and moves and np.isfinite([opening_r, width_r]).any() else float("nan"),
        "opening_error": float(np.abs(shown.opening - opening)[known].mean()) * 100.0 / height,
        "closure_hits": _share_near(real.sure, made.possible),
        "closure_precision": _share_near(made.sure, real.possible),
    }


def _as_asked(reference: Lips, shown: Lips) -> Motion:
    """The reference on the grid of the video's lips, with the margin in which a lag is looked for; NaN before it begins
    and after it ends."""
    margin = MAX_OFFSET + LAGS
    times = shown.start + (np.arange(len(shown.opening) + 2 * margin) - margin) / GRID_RATE
    # In frames of the reference; rounded, so that its last value is not lost by 1e-16.
    places = np.round((times - reference.start) * GRID_RATE, 6)
    there = np.arange(len(reference.opening))
    opening, width = (
        np.interp(places, there, series, left=np.nan, right=np.nan) for series in (reference.opening, reference.width)
    )
    return Motion(opening, width, opening, margin)


def _correlation(shown: Values, reference: Values) -> float:
    known = np.isfinite(shown) & np.isfinite(reference)
    if not known.any() or np.std(reference[known]) <= STILL:
        return float("nan")
    return pearson(shown[known], reference[known]) if np.std(shown[known]) > STILL else 0.0


@dataclass(frozen=True, slots=True)
class _Closures:
    """Frames at which lips close."""

    sure: list[int]
    possible: list[int]
    """The sure ones, and those that come near: tracked in an encoded copy, the same lips end a little above or below
    the limit."""

    @classmethod
    def of(cls, gap: Values) -> _Closures:
        sure = closure_events(gap, CONTACT_GAP)
        return cls(sure, [*sure, *closure_events(gap, NEARLY * CONTACT_GAP)])


def _share_near(events: list[int], others: list[int]) -> float:
    """Share of ``events`` that have one of ``others`` within two frames; NaN without any."""
    if not events:
        return float("nan")
    return sum(any(abs(event - other) <= TOLERANCE for other in others) for event in events) / len(events)
