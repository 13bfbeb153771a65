"""Piecewise affine warps between two shapes of one face mesh.

A ``MeshTopology`` is made once for a person: which points form triangles. ``TriangleRaster`` says which triangle each
pixel of an output rectangle lies in; it is made once for a frame and serves every layer of it. ``dense_map`` then
gives the maps for ``cv2.remap`` that fetch each output pixel from a source shape.

Everything runs at half resolution and is enlarged afterwards: the maps are piecewise linear, so that nothing is lost
but the kinks at the edges of triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from scipy.spatial import Delaunay

Float = NDArray[np.float32]
Rectangle = tuple[int, int, int, int]

RING_SCALE = 1.4
"""The fixed outer ring lies this much further from the nose than the face oval."""
RING_COUNT = len(mesh478.FACE_OVAL)
ROWS = (0.07, 0.18, 0.32, 0.46, 0.6, 0.74, 0.87, 0.95)
"""Where the points inside the mouth lie between the upper (0) and the lower (1) lip edge."""
COLUMNS = len(mesh478.UPPER_INNER_EDGE) - 2
INNER_COUNT = COLUMNS * len(ROWS)
RING_START = mesh478.MESH_COUNT
INNER_START = RING_START + RING_COUNT
POINT_COUNT = INNER_START + INNER_COUNT
"""Mesh points, then the ring, then the grid inside the mouth (column by column)."""

_STEP = 2
_SHIFT = 4
_OPENED = 0.25


@dataclass(frozen=True, slots=True)
class MeshTopology:
    """Triangles over POINT_COUNT points and how much each mesh point follows the mouth."""

    triangles: NDArray[np.int32]
    """int32 [M, 3]; those inside the mouth come first."""
    inner_count: int
    """How many triangles lie inside the mouth."""
    follow: Float
    """float32 [478] in [0, 1]: 1 on lips and chin, 0 where the face keeps still."""

    @property
    def points(self) -> NDArray[np.int32]:
        """Sorted numbers of the points that any triangle uses."""
        return np.unique(self.triangles)


def _smoothstep(value: Float, low: float, high: float) -> Float:
    unit = np.clip((value - low) / (high - low), 0, 1)
    return (unit * unit * (3 - 2 * unit)).astype(np.float32)


def follow_weights(rest: Float) -> Float:
    """float32 [478]: how much each point of a person's ``rest`` shape [478, 3] (head frame) follows the mouth.

    Grows from the nose base to the lips and fades towards the ears; lips always follow.
    """
    across = np.abs(rest[:, 0] - rest[mesh478.NOSE_BASE, 0])
    weights = _smoothstep(rest[:, 1], float(rest[mesh478.NOSE_BASE, 1]) + 0.02, float(rest[13, 1]))
    weights = weights * (1 - _smoothstep(across, 0.38, 0.72))
    weights[list(mesh478.LIPS)] = 1
    weights[mesh478.MESH_COUNT :] = 0
    return weights


def make_topology(rest: Float) -> MeshTopology:
    """Triangulates a person's closed ``rest`` shape, float32 [478, 3] in the head frame.

    The lips are opened for the Delaunay triangulation, so that the border of the mouth is made of edges; the hole is
    filled with a regular grid.
    """
    follow = follow_weights(rest)
    flat = rest[: mesh478.MESH_COUNT, :2].astype(np.float64).copy()
    across = flat[:, 0] - flat[13, 0]
    lower = flat[:, 1] > flat[14, 1] + 0.005
    lower[list(mesh478.UPPER_LIP)] = False
    lower[list(mesh478.LOWER_LIP)] = True
    flat[lower, 1] += _OPENED * np.clip(1 - (across[lower] / 0.27) ** 2, 0, 1)
    points = np.vstack([flat, _ring(flat)])
    triangles = Delaunay(points).simplices
    centre = points[triangles].mean(1)
    border = points[list(mesh478.INNER_LIPS)].astype(np.float32)
    hole = np.isin(triangles, mesh478.INNER_LIPS).all(1)
    hole &= np.array([cv2.pointPolygonTest(border, (float(x), float(y)), False) > 0 for x, y in centre])
    reach = np.concatenate([follow[: mesh478.MESH_COUNT], np.zeros(RING_COUNT, np.float32)])
    depth = np.concatenate([rest[: mesh478.MESH_COUNT, 1], np.full(RING_COUNT, -9.0)])
    moves = reach[triangles].max(1) > 1e-3
    near = (depth[triangles].max(1) > rest[mesh478.NOSE_TIP, 1] - 0.02) & (triangles.max(1) < mesh478.MESH_COUNT)
    near &= np.abs(points[triangles, 0] - flat[mesh478.NOSE_BASE, 0]).min(1) < 0.45
    skin = triangles[(moves | near) & ~hole]
    inner = _inner_triangles()
    return MeshTopology(np.vstack([inner, skin]).astype(np.int32), len(inner), follow)


def _inner_triangles() -> NDArray[np.int32]:
    """The grid between the upper and the lower inner lip edge; corners are shared by both edges."""
    upper, lower = mesh478.UPPER_INNER_EDGE, mesh478.LOWER_INNER_EDGE
    columns = [
        [upper[c], *(INNER_START + (c - 1) * len(ROWS) + row for row in range(len(ROWS))), lower[c]]
        for c in range(1, COLUMNS + 1)
    ]
    triangles: list[tuple[int, int, int]] = []
    for left, right in zip(columns, columns[1:], strict=False):
        for row in range(len(left) - 1):
            triangles.append((left[row], right[row], left[row + 1]))
            triangles.append((right[row], right[row + 1], left[row + 1]))
    for corner, column in ((upper[0], columns[0]), (upper[-1], columns[-1])):
        triangles.extend((corner, column[row], column[row + 1]) for row in range(len(column) - 1))
    return np.array(triangles, np.int32)


def _ring(flat: NDArray[np.floating]) -> NDArray[np.floating]:
    centre = flat[mesh478.NOSE_TIP]
    return centre + RING_SCALE * (flat[list(mesh478.FACE_OVAL)] - centre)


def complete_points(mesh: Float, ring_from: Float | None = None, inside: Float | None = None) -> Float:
    """All points of the topology, float32 [POINT_COUNT, 2], from mesh points [>= 468, 2] in pixels.

    ``ring_from``: mesh points that the fixed ring is taken from (the current frame's, also for a warped shape);
    ``inside`` float32 [INNER_COUNT, 2]: points inside the mouth, by default evenly between the lips.
    """
    base = mesh if ring_from is None else ring_from
    inner = between_lips(mesh) if inside is None else inside
    return np.vstack([mesh[: mesh478.MESH_COUNT, :2], _ring(base[: mesh478.MESH_COUNT, :2]), inner]).astype(np.float32)


def between_lips(mesh: Float) -> Float:
    """float32 [INNER_COUNT, 2 or 3]: grid points between the inner lip edges at the shares ``ROWS``."""
    upper = mesh[list(mesh478.UPPER_INNER_EDGE[1:-1])]
    lower = mesh[list(mesh478.LOWER_INNER_EDGE[1:-1])]
    share = np.array(ROWS, np.float32)[None, :, None]
    grid = upper[:, None] * (1 - share) + lower[:, None] * share
    return grid.reshape(INNER_COUNT, -1).astype(np.float32)


class TriangleRaster:
    """Which triangle each pixel of a rectangle lies in, for one output shape, at half resolution."""

    def __init__(self, topology: MeshTopology, points: Float, rectangle: Rectangle) -> None:
        """``points`` float32 [POINT_COUNT, 2] in pixels of the frame; ``rectangle`` left, top, width, height."""
        left, top, width, height = rectangle
        self.rectangle = rectangle
        # One small pixel more on each side, because cv2.resize cannot extrapolate.
        self._size = ((width + 1) // _STEP + 2, (height + 1) // _STEP + 2)
        left, top = left - _STEP, top - _STEP
        # A full pixel x sits at (x + 0.5) / step - 0.5 of the small image, as cv2.resize has it.
        centre = (_STEP - 1) / 2
        self._columns = (left + centre + _STEP * np.arange(self._size[0], dtype=np.float32)).astype(np.float32)
        self._rows = (top + centre + _STEP * np.arange(self._size[1], dtype=np.float32)).astype(np.float32)
        corners = points[topology.triangles].astype(np.float64)
        first = corners[:, 1] - corners[:, 0]
        second = corners[:, 2] - corners[:, 0]
        self._area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
        self._corners = corners
        self._topology = topology
        self._ids = np.full(self._size[::-1], len(corners), np.int32)
        small = (corners - [left + centre, top + centre]) / _STEP
        fixed = np.round(small * (1 << _SHIFT)).astype(np.int32)
        drawn = np.abs(self._area) > 0.3
        low, high = fixed.min(1) >> _SHIFT, fixed.max(1) >> _SHIFT
        drawn &= (high >= 0).all(1) & (low[:, 0] < self._size[0]) & (low[:, 1] < self._size[1])
        ids, fill = self._ids, cv2.fillConvexPoly
        # A triangle that shows its back (profile) is hidden behind those that show their front: it is drawn first.
        inner = np.arange(len(corners)) < topology.inner_count
        front = inner | (self._area * np.sign(np.median(self._area)) > 0)
        for number in (*np.flatnonzero(drawn & ~front), *np.flatnonzero(drawn & front)):
            fill(ids, fixed[number], int(number), cv2.LINE_4, _SHIFT)

    def affines(self, source: Float) -> Float:
        """float32 [M + 1, 6]: for each triangle the affine map from output to ``source`` pixels; last: identity."""
        target = self._corners
        origin = source[self._topology.triangles].astype(np.float64)
        flat = np.abs(self._area) < 0.3
        area = np.where(flat, 1.0, self._area)
        first, second = target[:, 1] - target[:, 0], target[:, 2] - target[:, 0]
        to_first, to_second = origin[:, 1] - origin[:, 0], origin[:, 2] - origin[:, 0]
        inverse = np.stack([second[:, 1], -second[:, 0], -first[:, 1], first[:, 0]], 1) / area[:, None]
        inverse[flat] = 0
        linear_x = to_first[:, :1] * inverse[:, :2] + to_second[:, :1] * inverse[:, 2:]
        linear_y = to_first[:, 1:] * inverse[:, :2] + to_second[:, 1:] * inverse[:, 2:]
        shift_x = origin[:, 0, 0] - (linear_x * target[:, 0]).sum(1)
        shift_y = origin[:, 0, 1] - (linear_y * target[:, 0]).sum(1)
        maps = np.column_stack([linear_x, shift_x, linear_y, shift_y])
        return np.vstack([maps, [1, 0, 0, 0, 1, 0]]).astype(np.float32)

    def dense_map(self, source: Float, rectangle: Rectangle | None = None, smooth: float = 0.0) -> tuple[Float, Float]:
        """Maps float32 [h, w] (x and y in pixels of the source's frame) for each pixel of ``rectangle`` (default: all).

        ``source`` float32 [POINT_COUNT, 2]. A smaller ``rectangle`` must begin an even number of pixels from the
        raster's corner and lie inside it. ``smooth``: sigma in pixels of a blur of the displacement, against folds at
        the outline of a turned face.
        """
        left, top, width, height = self.rectangle if rectangle is None else rectangle
        x0, y0 = (left - self.rectangle[0]) // _STEP, (top - self.rectangle[1]) // _STEP
        x1, y1 = x0 + (width + 1) // _STEP + 2, y0 + (height + 1) // _STEP + 2
        ids = self._ids[y0:y1, x0:x1]
        columns, rows = self._columns[None, x0:x1], self._rows[y0:y1, None]
        affine = self.affines(source)
        pulled = affine[ids]
        map_x = pulled[..., 0] * columns + pulled[..., 1] * rows + pulled[..., 2]
        map_y = pulled[..., 3] * columns + pulled[..., 4] * rows + pulled[..., 5]
        # Rounds off the kinks at triangle edges; the displacement, not the map, so that borders stay put.
        map_x = columns + cv2.blur(map_x - columns, (3, 3))
        map_y = rows + cv2.blur(map_y - rows, (3, 3))
        if smooth > 0:
            map_x = columns + cv2.GaussianBlur(map_x - columns, (0, 0), smooth / _STEP)
            map_y = rows + cv2.GaussianBlur(map_y - rows, (0, 0), smooth / _STEP)
        size = ((x1 - x0) * _STEP, (y1 - y0) * _STEP)
        inside = (slice(_STEP, _STEP + height), slice(_STEP, _STEP + width))
        full_x = np.asarray(cv2.resize(map_x, size, interpolation=cv2.INTER_LINEAR), np.float32)[inside]
        full_y = np.asarray(cv2.resize(map_y, size, interpolation=cv2.INTER_LINEAR), np.float32)[inside]
        return np.ascontiguousarray(full_x), np.ascontiguousarray(full_y)


def even_rectangle(points: Float, margin: float, width: int, height: int) -> Rectangle:
    """Bounding box of ``points`` [K, 2] with a margin in pixels, inside a frame, at even corner coordinates."""
    low = np.floor(points.min(0) - margin).astype(int)
    high = np.ceil(points.max(0) + margin).astype(int) + 1
    left, top = (max(0, int(value)) // 2 * 2 for value in low)
    right, bottom = min(int(high[0]), width), min(int(high[1]), height)
    return left, top, max(0, right - left), max(0, bottom - top)
