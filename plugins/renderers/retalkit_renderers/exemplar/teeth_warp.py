"""Warp of the mouth interior, in which rigid teeth do not stretch with the lips.

The interior is divided into three bands from top to bottom. The upper teeth follow the head, the lower teeth follow the
jaw, and the middle band absorbs the difference. Near the lips, the interior warp approaches the lip warp, so that the
complete warp is continuous.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose

from retalkit_renderers.mesh_warp import COLUMNS, INNER_COUNT, ROWS

Float = NDArray[np.float32]

_TEETH_DEPTH = 0.04
"""Distance from the inner lips back to the teeth in IOD."""
_UPPER_BAND = (0.0, 0.16, 0.46, 0.66)
"""Fractions of the opening, measured from the upper lip: blend start, rigid band start, rigid band end, blend end."""
_LOWER_BAND = (0.0, 0.14, 0.26, 0.42)
"""Fractions of the opening, measured from the lower lip: blend start, rigid band start, rigid band end, blend end."""
_MIN_SLOPE = 0.2
_JAW_SHARE = 0.9
_JAW = np.array([152, 148, 377, 175, 199], np.intp)
_EDGES = np.array([*mesh478.UPPER_INNER_EDGE[1:-1], *mesh478.LOWER_INNER_EDGE[1:-1]], np.intp)
"""Mesh points of the upper and the lower inner lip edge, without the mouth corners."""
_SHARE = np.array([0.0, *ROWS, 1.0], np.float64)[:, None]
_STEPS = np.diff(_SHARE, axis=0).T


def _band(share: NDArray[np.float64], corners: tuple[float, float, float, float]) -> NDArray[np.float64]:
    start, full, until, end = corners
    rise = np.clip((share - start) / (full - start), 0, 1)
    fall = np.clip((end - share) / (end - until), 0, 1)
    band = np.asarray(np.minimum(rise, fall), np.float64)
    return band * band * (3 - 2 * band)


_JAW_WEIGHT = _band(1.0 - _SHARE, _LOWER_BAND)
_RIGID_WEIGHT = _band(_SHARE, _UPPER_BAND) + _JAW_WEIGHT
"""Weight of both rigid bands in each grid row. The remaining weight belongs to the warp of the lips."""


class TeethPlane:
    """Plane of the teeth in one frame, with conversions between pixels and head-frame coordinates."""

    def __init__(self, pose: HeadPose, depth: float) -> None:
        """Compute the plane at z = ``depth`` in the head frame. ``pose``: head pose (T = 1)."""
        scale, rotation = float(pose.scale[0]), pose.rotation[0].astype(np.float64)
        self._matrix = scale * rotation[:2, :2]
        self._offset = scale * rotation[:2, 2] * depth + pose.translation[0, :2].astype(np.float64)
        (a, b), (c, d) = self._matrix.tolist()
        self._inverse = np.array([[d, -b], [-c, a]]) / (a * d - b * c)

    def to_head(self, pixels: Float) -> NDArray[np.float64]:
        return (pixels - self._offset) @ self._inverse.T

    def to_pixels(self, points: NDArray[np.float64]) -> Float:
        return (points @ self._matrix.T + self._offset).astype(np.float32)


def teeth_depth(rest: Float) -> float:
    """Return the z coordinate of the teeth in the head frame for a rest shape [478, 3]."""
    return float(rest[[13, 14], 2].mean()) + _TEETH_DEPTH


def interior_points(
    target: Float,
    target_plane: TeethPlane,
    target_head: Float,
    source: Float,
    source_plane: TeethPlane,
    source_head: Float,
) -> Float:
    """Return an exemplar's grid points inside the mouth, float32 [INNER_COUNT, 2], in pixels of its source frame.

    ``target`` and ``source``: mesh points in pixels, [>= 468, 2 or 3]. ``target_head`` and ``source_head``: mesh points
    in the head frame, [478, 3].
    """
    upper, lower = target_plane.to_head(target[_EDGES, :2]).reshape(2, COLUMNS, 1, 2)
    from_upper, from_lower = source_plane.to_head(source[_EDGES, :2]).reshape(2, COLUMNS, 1, 2)
    jaw = _JAW_SHARE * (source_head[_JAW, :2] - target_head[_JAW, :2]).mean(0)
    target_grid = upper + (lower - upper) * _SHARE
    lip_grid = from_upper + (from_lower - from_upper) * _SHARE
    grid = lip_grid + _RIGID_WEIGHT * (target_grid - lip_grid) + _JAW_WEIGHT * jaw
    grid[..., 1] = _monotonic_rows(grid[..., 1], from_upper[:, 0, 1], from_lower[:, 0, 1])
    return source_plane.to_pixels(grid[:, 1:-1].reshape(INNER_COUNT, 2))


def _monotonic_rows(
    rows: NDArray[np.float64], top: NDArray[np.float64], bottom: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return columns [COLUMNS, R] that ascend strictly from ``top`` to ``bottom``, so that the warp does not fold."""
    even = _STEPS * np.maximum(bottom - top, 1e-4)[:, None]
    # The excess of each step over the minimum step is scaled to the remaining length.
    spare = np.maximum(rows[:, 1:] - rows[:, :-1] - _MIN_SLOPE * even, 0)
    room = (1 - _MIN_SLOPE) * even.sum(1, keepdims=True)
    steps = _MIN_SLOPE * even + spare * room / np.maximum(spare.sum(1, keepdims=True), 1e-9)
    out = np.empty((COLUMNS, len(_SHARE)))
    out[:, 0] = top
    out[:, 1:] = top[:, None] + np.cumsum(steps, axis=1)
    return out
