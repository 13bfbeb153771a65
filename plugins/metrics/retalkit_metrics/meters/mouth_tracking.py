"""Accuracy of an output's mouth motion, computed by comparing requested motion with landmarks tracked in the output.

Distances are in percent of the face height (forehead to chin of the face mesh), so that they are comparable between
people and frame sizes.
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
"""Percentile of the tracked opening that must be low for a closed mouth. The percentile tolerates a few tracking
errors.
"""


@dataclass(frozen=True, slots=True)
class MouthTracking:
    """Mouth tracking scores of one clip. Undefined scores, such as correlations with a constant series, are NaN."""

    opening_correlation: float
    """Pearson correlation of the mouth opening, from -1 to 1. Higher values are better."""
    width_correlation: float
    """Pearson correlation of the mouth width, from -1 to 1. Higher values are better."""
    opening_error: float
    """Mean absolute difference between tracked and requested opening, in percent of the face height.

    The minimum is 0, and lower values are better.
    """
    width_error: float
    """Mean absolute difference between tracked and requested width, in percent of the face height.

    The minimum is 0, and lower values are better.
    """
    opening_bias: float
    """Mean difference of tracked minus requested opening, in percent of the face height. The best value is 0."""
    tracked_opening: float
    """98th percentile of the tracked opening, in percent of the face height. If a closed mouth was requested, lower
    values are better.
    """
    requested_opening: float
    """98th percentile of the requested opening, in percent of the face height."""
    frames: int
    """Number of frames that were compared."""
    lost: int
    """Number of frames with requested motion in which the tracker detected no face."""


def measure_mouth(landmarks: Float, template: Float) -> Float:
    """Return opening, width and face height, float32 [T, 3] in IOD, for tracked landmarks.

    ``landmarks``: [T, 478, 3] in pixels. ``template``: mean face of the *source* clip in the head frame, float32 [478,
    3]. Using one template ensures that source and output have identical units. Frames with NaN landmarks yield NaN.
    """
    stable = list(mesh478.STABLE)
    head = to_head_frame(landmarks, rigid_fit(landmarks[:, stable], template[stable]))
    return np.stack([mesh_space.opening(head), mesh_space.width(head), mesh_space.face_height(head)], 1)


def compare_mouth_motion(
    requested_opening: Float, requested_width: Float, tracked_opening: Float, tracked_width: Float, face_height: float
) -> MouthTracking:
    """Compare requested and tracked series, float32 [T] in a common unit (IOD or pixels). Missing values are NaN.

    ``face_height``: face height in the unit of the series. Raises ValueError if the series differ in length or the face
    height is not positive.
    """
    given = (requested_opening, requested_width, tracked_opening, tracked_width)
    series = [np.asarray(values, np.float64) for values in given]
    if len({len(each) for each in series}) != 1:
        raise ValueError(f"expected series of equal length, got lengths {[len(each) for each in series]}")
    if not face_height > 0:
        raise ValueError(f"expected a positive face height, got {face_height}")
    requested = np.isfinite(series[0]) & np.isfinite(series[1])
    tracked = np.isfinite(series[2]) & np.isfinite(series[3])
    both = requested & tracked
    lost = int((requested & ~tracked).sum())
    if not both.any():
        nan = float("nan")
        return MouthTracking(nan, nan, nan, nan, nan, nan, nan, 0, lost)
    target_opening, target_width, opening, width = (values[both] for values in series)
    percent = 100.0 / face_height
    return MouthTracking(
        opening_correlation=pearson(target_opening, opening),
        width_correlation=pearson(target_width, width),
        opening_error=float(np.abs(opening - target_opening).mean() * percent),
        width_error=float(np.abs(width - target_width).mean() * percent),
        opening_bias=float((opening - target_opening).mean() * percent),
        tracked_opening=float(np.percentile(opening, REST_PERCENTILE) * percent),
        requested_opening=float(np.percentile(target_opening, REST_PERCENTILE) * percent),
        frames=int(both.sum()),
        lost=lost,
    )
