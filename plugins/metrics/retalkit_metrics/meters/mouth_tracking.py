"""How well the mouth in an output follows what was asked of it, from landmarks that were tracked again in the output.

Distances are percent of the face height (forehead to chin of the face mesh), so that they compare across people and
frame sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import rigid_fit, to_head_frame
from retalkit.motion_eval.correlation import pearson

Float = NDArray[np.float32]

REST_PERCENTILE = 98.0
"""Percentile of the shown opening that stands for "the mouth stays closed": a few tracking slips are forgiven."""


@dataclass(frozen=True, slots=True)
class MouthFollowing:
    """Scores of one clip; NaN where they are not defined (a correlation with something constant)."""

    opening_correlation: float
    """Pearson r of the opening, -1 to 1, higher is better."""
    width_correlation: float
    """Pearson r of the mouth width, -1 to 1, higher is better."""
    opening_error: float
    """Mean absolute difference of the opening, percent of face height, at least 0, lower is better."""
    width_error: float
    """Mean absolute difference of the width, percent of face height, at least 0, lower is better."""
    opening_bias: float
    """Mean of shown minus asked opening, percent of face height; 0 is best."""
    shown_opening: float
    """98th percentile of the shown opening, percent of face height. Where silence was asked: lower is better."""
    asked_opening: float
    """98th percentile of the asked opening, percent of face height."""
    frames: int
    """Frames that count."""
    lost: int
    """Frames in which a mouth was asked for and the tracker found no face."""


def shown_measures(landmarks: Float, template: Float) -> Float:
    """Opening, width and face height, float32 [T, 3] in IOD, of re-tracked landmarks [T, 478, 3] in pixels.

    ``template`` float32 [478, 3] is the person in the head frame, made from the *source* clip: one template for both
    keeps the unit the same. NaN rows stay NaN.
    """
    stable = list(mesh478.STABLE)
    head = to_head_frame(landmarks, rigid_fit(landmarks[:, stable], template[stable]))
    return np.stack([mesh_space.opening(head), mesh_space.width(head), mesh_space.face_height(head)], 1)


def mouth_following(
    asked_opening: Float, asked_width: Float, shown_opening: Float, shown_width: Float, face_height: float
) -> MouthFollowing:
    """Compares asked and shown series, float32 [T] in one unit (IOD or pixels), NaN where nothing was asked or found.

    ``face_height`` is the person's in the same unit. Raises ValueError for series of different length or a face
    height that is not positive.
    """
    series = [np.asarray(each, np.float64) for each in (asked_opening, asked_width, shown_opening, shown_width)]
    if len({len(each) for each in series}) != 1:
        raise ValueError(f"series differ in length: {[len(each) for each in series]}")
    if not face_height > 0:
        raise ValueError(f"face height must be positive, not {face_height}")
    asked = np.isfinite(series[0]) & np.isfinite(series[1])
    found = np.isfinite(series[2]) & np.isfinite(series[3])
    good = asked & found
    lost = int((asked & ~found).sum())
    if not good.any():
        nan = float("nan")
        return MouthFollowing(nan, nan, nan, nan, nan, nan, nan, 0, lost)
    want_opening, want_width, opening, width = (each[good] for each in series)
    percent = 100.0 / face_height
    return MouthFollowing(
        opening_correlation=pearson(want_opening, opening),
        width_correlation=pearson(want_width, width),
        opening_error=float(np.abs(opening - want_opening).mean() * percent),
        width_error=float(np.abs(width - want_width).mean() * percent),
        opening_bias=float((opening - want_opening).mean() * percent),
        shown_opening=float(np.percentile(opening, REST_PERCENTILE) * percent),
        asked_opening=float(np.percentile(want_opening, REST_PERCENTILE) * percent),
        frames=int(good.sum()),
        lost=lost,
    )
