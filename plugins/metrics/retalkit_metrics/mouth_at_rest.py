"""Metric ``quiet_mouth``, which measures mouth opening and motion during audio without speech.

Both values are in percent of the person's face height (forehead to chin) and include the tracker's noise floor. The
tracker places the inner lips of a closed mouth slightly apart, with a person-dependent offset and with jitter. A value
of 0 is therefore unusual. Compare variants with each other and, if available, with a real clip of the person at rest.
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
from retalkit_metrics.sessions import FramelessSession

Values = NDArray[np.float64]


class MouthAtRestMetric:
    """Metric ``quiet_mouth``, which requires only the tracked lips and no frames."""

    def open(self, scene: Scene) -> MetricSession:
        return FramelessSession(lambda: rest_scores(scene.output))


def rest_scores(analysis: Analysis | None) -> Scores:
    """Return the measures of ``quiet_mouth``. The measures are NaN if the clip contains no face."""
    undefined = {"rest_opening": float("nan"), "mouth_energy": float("nan")}
    if analysis is None:
        return undefined
    height = face_height(analysis)
    opening = measure_lips(analysis).opening
    tracked = opening[np.isfinite(opening)]
    if not len(tracked) or not height > 0:
        return undefined
    # All clips are resampled to one rate, because tracking jitter causes a higher apparent speed at shorter time steps.
    speed = (np.diff(opening) * GRID_RATE)[_is_continuous(analysis, len(opening))]
    speed = speed[np.isfinite(speed)]
    percent = 100.0 / height
    return {
        "rest_opening": float(np.percentile(tracked, REST_PERCENTILE)) * percent,
        "mouth_energy": float(np.sqrt(np.mean(speed**2))) * percent if len(speed) else float("nan"),
    }


def face_height(analysis: Analysis) -> float:
    """Return the median face height in units of the outer eye corner distance, or NaN if the clip contains no face."""
    heights = analysis.coefficients(0, analysis.source.info.frame_count)[:, mesh_space.FACE_HEIGHT]
    finite = heights[np.isfinite(heights)]
    return float(np.median(finite)) if len(finite) else float("nan")


def _is_continuous(analysis: Analysis, count: int) -> NDArray[np.bool_]:
    """Return a mask of neighbouring 25 Hz values that come from frames of one track, bool [count - 1]."""
    frames = analysis.source.info.frame_count
    times, shots = analysis.source.times(0, frames), analysis.tracks(0, frames)
    grid = np.arange(count) / GRID_RATE
    before = np.clip(np.searchsorted(times, grid + 1e-6, side="right") - 1, 0, frames - 1)
    after = np.clip(np.searchsorted(times, grid - 1e-6, side="left"), 0, frames - 1)
    same = shots[before] == shots[after]
    return same[1:] & same[:-1] & (shots[before][1:] == shots[after][:-1])
