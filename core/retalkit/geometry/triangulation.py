"""Delaunay triangulation of points in the plane.

The module uses OpenCV, because importing ``scipy.spatial`` takes a sixth of the start-up time of a run.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Triangles = NDArray[np.int64]

_SIZE: Final = 4096.0
"""Extent to which the points are scaled. ``cv2.Subdiv2D`` merges points that are closer than about 1e-7."""
_TOLERANCE: Final = 1e-9


def delaunay(points: Points) -> Triangles:
    """Return the triangles of distinct points [N, 2] as counter-clockwise point indexes, int64 [M, 3].

    The order of the triangles depends only on the indexes. Flat triangles at the convex hull may be missing.
    """
    low = points.min(0)
    scale = _SIZE / float((points.max(0) - low).max())
    scaled = ((points - low) * scale + 1).astype(np.float32)
    subdivision = cv2.Subdiv2D((0, 0, round(_SIZE) + 3, round(_SIZE) + 3))
    numbers: dict[tuple[float, float], int] = {}
    for number, (x, y) in enumerate(scaled.tolist()):
        subdivision.insert((x, y))
        numbers[x, y] = number
    corners = np.asarray(subdivision.getTriangleList()).reshape(-1, 3, 2).tolist()
    # The list also contains triangles with the auxiliary points outside the rectangle.
    found = np.array([[numbers.get((x, y), -1) for x, y in triangle] for triangle in corners], np.int64)
    found = found[(found >= 0).all(1)]
    first, second, third = points[found].transpose(1, 0, 2)
    clockwise = _doubled_area(first, second, third) < 0
    found[clockwise] = found[clockwise, ::-1]
    found = np.take_along_axis(found, (found.argmin(1)[:, None] + np.arange(3)) % 3, axis=1)
    return found[np.lexsort(found.T[::-1])]


def locate_cells(points: Points, triangles: Triangles, x: Points, y: Points) -> Triangles:
    """Return the number of the triangle that contains each point of a regular grid, int64 [len(y), len(x)].

    ``x``, ``y``: equidistant ascending coordinates of the columns and rows. The number of points outside all triangles
    is -1.
    """
    corners = points[triangles]
    origin, step = np.array([x[0], y[0]]), np.array([x[1] - x[0], y[1] - y[0]])
    last = np.array([len(x), len(y)]) - 1
    low = np.clip(np.floor((corners.min(1) - origin) / step), 0, last).astype(np.int64)
    high = np.clip(np.ceil((corners.max(1) - origin) / step), 0, last).astype(np.int64)
    # All pairs of a triangle and a cell of its bounding box.
    columns, rows = (high - low + 1).T
    number = np.repeat(np.arange(len(triangles)), columns * rows)
    position = np.arange(len(number)) - np.repeat(np.cumsum(columns * rows) - columns * rows, columns * rows)
    column = low[number, 0] + position % columns[number]
    row = low[number, 1] + position // columns[number]
    cell = np.stack([x[column], y[row]], 1)
    first, second, third = corners[number].transpose(1, 0, 2)
    areas = [_doubled_area(cell, second, third), _doubled_area(first, cell, third), _doubled_area(first, second, cell)]
    inside = np.min(areas, axis=0) >= -_TOLERANCE * _doubled_area(first, second, third)
    located = np.full((len(y), len(x)), -1, np.int64)
    located[row[inside], column[inside]] = number[inside]
    return located


def _doubled_area(first: Points, second: Points, third: Points) -> Points:
    """Return twice the signed area of triangles [K, 2], float64 [K]."""
    across, along = second - first, third - first
    return across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0]
