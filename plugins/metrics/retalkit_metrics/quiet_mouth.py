"""The metric ``quiet_mouth``: what a mouth does while nobody speaks.

Both numbers are percent of the face height (forehead to chin) of the person in the video. The tracker's floor is in
them: the inner lips of a closed mouth lie a little apart for it, by an amount that differs between people, and jitter.
Compare variants with one another, and with a real clip of the person at rest where there is one; do not expect 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.metrics import Scores
from retalkit.metrics.scene import MetricSession, Scene
from retalkit.motion_eval.agreement import GRID_RATE
from retalkit.motion_eval.clips import measure_lips
from retalkit.stages import Analysis

from retalkit_metrics.meters.mouth_tracking import REST_PERCENTILE
from retalkit_metrics.sessions import WithoutFrames

Values = NDArray[np.float64]


class QuietMouthMetric:
    """Reads the tracked lips; looks at no frame."""

    def open(self, scene: Scene) -> MetricSession:
        return WithoutFrames(lambda: quiet_scores(scene.output))


def quiet_scores(analysis: Analysis | None) -> Scores:
    """The measures of ``quiet_mouth``; NaN without a face."""
    nothing = {"rest_opening": float("nan"), "mouth_energy": float("nan")}
    if analysis is None:
        return nothing
    height = face_height(analysis)
    opening = measure_lips(analysis).opening
    seen = opening[np.isfinite(opening)]
    if not len(seen) or not height > 0:
        return nothing
    # One rate for all clips: jitter divided by a shorter step would be a higher speed.
    speed = (np.diff(opening) * GRID_RATE)[_continues(analysis, len(opening))]
    speed = speed[np.isfinite(speed)]
    percent = 100.0 / height
    return {
        "rest_opening": float(np.percentile(seen, REST_PERCENTILE)) * percent,
        "mouth_energy": float(np.sqrt(np.mean(speed**2))) * percent if len(speed) else float("nan"),
    }


def face_height(analysis: Analysis) -> float:
    """Median of the face height in distances between the outer eye corners; NaN without a face."""
    heights = analysis.coefficients(0, analysis.source.info.frame_count)[:, mesh_space.FACE_HEIGHT]
    good = heights[np.isfinite(heights)]
    return float(np.median(good)) if len(good) else float("nan")


def _continues(analysis: Analysis, count: int) -> NDArray[np.bool_]:
    """bool [count - 1]: whether two neighbours on the grid of 25 a second come from frames of one shot."""
    frames = analysis.source.info.frame_count
    times, shots = analysis.source.times(0, frames), analysis.tracks(0, frames)
    grid = np.arange(count) / GRID_RATE
    before = np.clip(np.searchsorted(times, grid + 1e-6, side="right") - 1, 0, frames - 1)
    after = np.clip(np.searchsorted(times, grid - 1e-6, side="left"), 0, frames - 1)
    whole = shots[before] == shots[after]
    return whole[1:] & whole[:-1] & (shots[before][1:] == shots[after][:-1])
