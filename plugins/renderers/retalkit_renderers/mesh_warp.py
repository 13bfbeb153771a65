"""Piecewise affine warps between two shapes of one face mesh.

A ``MeshTopology`` contains the mesh triangles and is built once per person. A ``TriangleRaster`` contains the triangle
index of each pixel in an output rectangle. It is built once per frame and shared by all layers.
``TriangleRaster.displacement`` returns the displacement of each output pixel to a source shape, and
``sample_displaced`` samples an image at the displaced positions. ``TriangleRaster.dense_map`` returns ``cv2.remap``
maps instead.

Displacements are computed at half resolution and upsampled. They are piecewise linear, so upsampling only smooths the
discontinuities at triangle edges. Points and displacements are represented as complex numbers (x + iy), which halves
the number of operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.triangulation import delaunay

from retalkit_renderers.triangle_index import triangle_index

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]
Image = NDArray[np.uint8]
Rectangle = tuple[int, int, int, int]

RING_SCALE = 1.4
"""Scale of the fixed outer ring, relative to the face oval and centred at the nose tip."""
RING_COUNT = len(mesh478.FACE_OVAL)
ROWS = (0.07, 0.18, 0.32, 0.46, 0.6, 0.74, 0.87, 0.95)
"""Positions of the points inside the mouth between the upper (0) and the lower (1) lip edge."""
COLUMNS = len(mesh478.UPPER_INNER_EDGE) - 2
INNER_COUNT = COLUMNS * len(ROWS)
RING_START = mesh478.MESH_COUNT
INNER_START = RING_START + RING_COUNT
POINT_COUNT = INNER_START + INNER_COUNT
"""Number of topology points, which are mesh points, ring points, and grid points inside the mouth (in column order)."""

_STEP = 2
_COARSE_SPREAD = 2.0
"""Standard deviation of a blur, in pixels of the small image, from which the displacement is computed for every second
pixel.
"""
_MIN_AREA = 0.3
"""Threshold for twice a triangle's area, in square pixels, below which the triangle is considered flat."""
_FACE_OVAL = np.array(mesh478.FACE_OVAL, np.intp)
_UPPER = np.array(mesh478.UPPER_INNER_EDGE[1:-1], np.intp)
_LOWER = np.array(mesh478.LOWER_INNER_EDGE[1:-1], np.intp)
_SHARE = np.array(ROWS, np.float32)[None, :, None]
_OPENED = 0.25
"""Lip opening in IOD at which the mesh is triangulated."""


@dataclass(frozen=True, slots=True)
class MeshTopology:
    """Triangles over POINT_COUNT points, and the mouth motion weights of the mesh points."""

    triangles: NDArray[np.int32]
    """Point indexes of the triangles, int32 [M, 3]. The triangles inside the mouth are listed first."""
    inner_count: int
    """Number of triangles inside the mouth."""
    mouth_weights: Float
    """Mouth motion weights in [0, 1], float32 [478].

    The weight is 1 on lips and chin and 0 on static parts of the face.
    """

    @property
    def points(self) -> NDArray[np.int32]:
        """Return the sorted indexes of the points that belong to triangles."""
        return np.unique(self.triangles)


def _smoothstep(value: Float, low: float, high: float) -> Float:
    unit = np.clip((value - low) / (high - low), 0, 1)
    return (unit * unit * (3 - 2 * unit)).astype(np.float32)


def fit_mouth_weights(rest: Float) -> Float:
    """Return each point's mouth motion weight for a head-frame ``rest`` shape [478, 3], float32 [478].

    The weight increases from the nose base to the lips and decreases towards the ears. It is 1 on the lips.
    """
    across = np.abs(rest[:, 0] - rest[mesh478.NOSE_BASE, 0])
    weights = _smoothstep(rest[:, 1], float(rest[mesh478.NOSE_BASE, 1]) + 0.02, float(rest[13, 1]))
    weights = weights * (1 - _smoothstep(across, 0.38, 0.72))
    weights[list(mesh478.LIPS)] = 1
    weights[mesh478.MESH_COUNT :] = 0
    return weights


def make_topology(rest: Float) -> MeshTopology:
    """Return the triangulation for a person's closed ``rest`` shape, float32 [478, 3] in the head frame.

    The lips are opened before the Delaunay triangulation, so that the mouth boundary consists of triangle edges. The
    mouth opening is filled with a regular grid.
    """
    mouth_weights = fit_mouth_weights(rest)
    flat = rest[: mesh478.MESH_COUNT, :2].astype(np.float64).copy()
    across = flat[:, 0] - flat[13, 0]
    lower = flat[:, 1] > flat[14, 1] + 0.005
    lower[list(mesh478.UPPER_LIP)] = False
    lower[list(mesh478.LOWER_LIP)] = True
    flat[lower, 1] += _OPENED * np.clip(1 - (across[lower] / 0.27) ** 2, 0, 1)
    points = np.vstack([flat, _ring(flat)])
    triangles = delaunay(points)
    centre = points[triangles].mean(1)
    border = points[list(mesh478.INNER_LIPS)].astype(np.float32)
    hole = np.isin(triangles, mesh478.INNER_LIPS).all(1)
    hole &= np.array([cv2.pointPolygonTest(border, (float(x), float(y)), False) > 0 for x, y in centre])
    reach = np.concatenate([mouth_weights[: mesh478.MESH_COUNT], np.zeros(RING_COUNT, np.float32)])
    depth = np.concatenate([rest[: mesh478.MESH_COUNT, 1], np.full(RING_COUNT, -9.0)])
    moves = reach[triangles].max(1) > 1e-3
    near = (depth[triangles].max(1) > rest[mesh478.NOSE_TIP, 1] - 0.02) & (triangles.max(1) < mesh478.MESH_COUNT)
    near &= np.abs(points[triangles, 0] - flat[mesh478.NOSE_BASE, 0]).min(1) < 0.45
    skin = triangles[(moves | near) & ~hole]
    inner = _inner_triangles()
    return MeshTopology(np.vstack([inner, skin]).astype(np.int32), len(inner), mouth_weights)


def _inner_triangles() -> NDArray[np.int32]:
    """Return the triangles between the upper and the lower inner lip edge. Both edges include the mouth corners."""
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


def _ring(flat: NDArray[Any]) -> NDArray[Any]:
    centre = flat[mesh478.NOSE_TIP]
    return centre + RING_SCALE * (flat[_FACE_OVAL] - centre)


def topology_points(mesh: Float, ring_from: Float | None = None, inside: Float | None = None) -> Float:
    """Return all topology points, float32 [POINT_COUNT, 2], for mesh points [>= 468, 2] in pixels.

    ``ring_from``: mesh points that determine the fixed ring, which are the current frame's points even for a warped
    shape. ``inside``: points inside the mouth, float32 [INNER_COUNT, 2]. By default, the points are distributed evenly
    between the lips.
    """
    base = mesh if ring_from is None else ring_from
    inner = interior_grid(mesh) if inside is None else inside
    points = np.empty((POINT_COUNT, 2), np.float32)
    points[:RING_START] = mesh[:RING_START, :2]
    points[RING_START:INNER_START] = _ring(base[:, :2])
    points[INNER_START:] = inner[:, :2]
    return points


def interior_grid(mesh: Float) -> Float:
    """Return grid points between the inner lip edges, float32 [INNER_COUNT, 2 or 3].

    ``ROWS`` contains the relative positions of the points.
    """
    upper, lower = mesh[_UPPER], mesh[_LOWER]
    grid = upper[:, None] * (1 - _SHARE) + lower[:, None] * _SHARE
    return grid.reshape(INNER_COUNT, -1).astype(np.float32)


class TriangleRaster:
    """Triangle index of each pixel in a rectangle for one output shape, at half resolution."""

    def __init__(self, topology: MeshTopology, points: Float, rectangle: Rectangle) -> None:
        """Rasterise the triangles of an output shape.

        ``points``: topology points in frame pixels, float32 [POINT_COUNT, 2]. ``rectangle``: left, top, width and
        height. Pixels outside all triangles are not displaced.
        """
        left, top, width, height = rectangle
        self.rectangle = rectangle
        # The small grid has one additional pixel on each side, because cv2.resize cannot extrapolate.
        self._size = ((width + 1) // _STEP + 2, (height + 1) // _STEP + 2)
        # As in cv2.resize, the full-resolution coordinate x corresponds to (x + 0.5) / step - 0.5 in the small image.
        self._origin = complex(left - _STEP + (_STEP - 1) / 2, top - _STEP + (_STEP - 1) / 2)
        self._columns = _STEP * np.arange(self._size[0], dtype=np.float32)
        self._rows = _STEP * np.arange(self._size[1], dtype=np.float32)[:, None]
        self._triangles = topology.triangles.T
        self._target = (_complex(points) - self._origin)[self._triangles]
        first, second = self._target[1] - self._target[0], self._target[2] - self._target[0]
        self._area = (first.conj() * second).imag
        self._flat = np.abs(self._area) < _MIN_AREA
        area = np.where(self._flat, np.inf, self._area)
        self._inverse = (second.imag / area, -second.real / area, -first.imag / area, first.real / area)
        self._ids = self._rasterise(topology.inner_count)

    def _rasterise(self, inner_count: int) -> NDArray[np.intp]:
        """Return the triangle index of each pixel in the small image, [h, w].

        For pixels outside all triangles, the index equals the number of triangles.
        """
        # In profile views, back-facing triangles are behind front-facing triangles, so the back-facing triangles are
        # drawn first. Flat triangles are visible only in gaps between other triangles.
        front = self._area * np.sign(np.median(self._area)) > 0
        front[:inner_count] = True
        order = np.argsort(np.where(self._flat, 0, np.where(front, 2, 1)), kind="stable")
        found = triangle_index(self._target[:, order] / _STEP, *self._size)
        return np.append(order, len(order)).take(found)

    def _affines(self, source: Float) -> tuple[Complex, Complex, Complex]:
        """Return the coefficients a, b and c of each triangle's displacement to ``source``, ``a * x + b * y + c``.

        Each array is complex64 [M + 1], with 0 as the last element. The origin of x and y is the first pixel of the
        small image.
        """
        origin = (_complex(source) - self._origin)[self._triangles]
        to_first, to_second = origin[1] - origin[0], origin[2] - origin[0]
        inverse = self._inverse
        across = to_first * inverse[0] + to_second * inverse[2]
        down = to_first * inverse[1] + to_second * inverse[3]
        start = self._target[0]
        shift = origin[0] - across * start.real - down * start.imag
        out = np.zeros((3, len(across) + 1), np.complex64)
        out[0, :-1], out[1, :-1], out[2, :-1] = across - 1, down - 1j, shift
        return out[0], out[1], out[2]

    def displacement(self, source: Float, rectangle: Rectangle | None = None, smooth: float = 0.0) -> Float:
        """Return the displacement of each pixel in the small image to its source, float32 [h, w, 2] (x and y).

        The values are in full-resolution pixels. The array has half resolution and one additional pixel on each side of
        ``rectangle`` (see ``dense_map``).
        """
        left, top, width, height = self.rectangle if rectangle is None else rectangle
        x0, y0 = (left - self.rectangle[0]) // _STEP, (top - self.rectangle[1]) // _STEP
        size = (width + 1) // _STEP + 2, (height + 1) // _STEP + 2
        part = (slice(y0, y0 + size[1]), slice(x0, x0 + size[0]))
        spread = smooth / _STEP
        if spread >= _COARSE_SPREAD:
            # A strong blur leaves no detail that a grid of half the resolution could not represent.
            coarse = cv2.GaussianBlur(self._displaced(source, part, 2), (0, 0), spread / 2)
            fine = cv2.resize(coarse, (2 * coarse.shape[1], 2 * coarse.shape[0]), interpolation=cv2.INTER_LINEAR)
            return np.asarray(fine[: size[1], : size[0]], np.float32)
        small = self._displaced(source, part)
        # Smooth the discontinuities at triangle edges. Blurring the displacement instead of the map preserves the
        # borders. The smallest blur is a box filter of 3 x 3 pixels, which has a variance of 2 / 3.
        if smooth > 0:
            return np.asarray(cv2.GaussianBlur(small, (0, 0), math.sqrt(spread**2 + 2 / 3)), np.float32)
        return np.asarray(cv2.blur(small, (3, 3)), np.float32)

    def _displaced(self, source: Float, part: tuple[slice, slice], every: int = 1) -> Float:
        """Return the displacement without smoothing, float32 [h, w, 2], for a part of the small image.

        The result contains the displacement at the centre of each cell of ``every`` x ``every`` pixels.
        """
        rows, columns = (slice(side.start, side.stop, every) for side in part)
        across, down, shift = self._affines(source)
        centre = np.float32((every - 1) / 2 * _STEP)
        ids = self._ids[rows, columns]
        moved = across.take(ids) * (self._columns[columns] + centre)
        moved += down.take(ids) * (self._rows[rows] + centre)
        moved += shift.take(ids)
        return moved.view(np.float32).reshape(*moved.shape, 2)

    def dense_map(self, source: Float, rectangle: Rectangle | None = None, smooth: float = 0.0) -> tuple[Float, Float]:
        """Return ``cv2.remap`` maps (x and y in source frame pixels) for ``rectangle``, float32 [h, w] each.

        ``source``: topology points of the source shape, float32 [POINT_COUNT, 2]. ``rectangle``: part of the raster
        rectangle (default: all), offset from its corner by an even number of pixels. ``smooth``: standard deviation in
        pixels of a displacement blur. The blur prevents folds at the outline of a turned face.
        """
        left, top, width, height = inside = self.rectangle if rectangle is None else rectangle
        moved = upsample(self.displacement(source, inside, smooth), inside)
        map_x = moved[..., 0] + np.arange(left, left + width, dtype=np.float32)
        map_y = moved[..., 1] + np.arange(top, top + height, dtype=np.float32)[:, None]
        return map_x, map_y


def _complex(points: Float) -> NDArray[np.complex128]:
    return points.astype(np.float64).view(np.complex128)[:, 0]


def upsample(small: Float, rectangle: Rectangle) -> Float:
    """Return ``small``, upsampled to the pixels of ``rectangle``.

    ``small``: values on the small grid of a ``displacement``, [h, w] or [h, w, 2]. The corners of ``small`` and
    ``rectangle`` must correspond. ``small`` may be larger than required.
    """
    _, _, width, height = rectangle
    small = small[: (height + 1) // _STEP + 2, : (width + 1) // _STEP + 2]
    size = (small.shape[1] * _STEP, small.shape[0] * _STEP)
    full = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(full[_STEP : _STEP + height, _STEP : _STEP + width], np.float32)


def displaced_rectangle(moved: NDArray[np.bool_], rectangle: Rectangle, least: Rectangle) -> Rectangle:
    """Return the part of a raster ``rectangle`` that covers ``least`` and all pixels that are set in ``moved``.

    ``moved``: bool mask on the small grid of a ``displacement``. If the offset of ``least`` from the raster corner is
    an even number of pixels, the offset of the result is also even.
    """
    left, top, width, height = rectangle
    x, y, w, h = cv2.boundingRect(moved.view(np.uint8))
    x0, y0, x1, y1 = least[0], least[1], least[0] + least[2], least[1] + least[3]
    if w and h:
        # Upsampling interpolates between neighbours, so that a set value affects one additional pixel of the small
        # image.
        x0, x1 = min(x0, left + _STEP * (x - 2)), max(x1, left + _STEP * (x + w))
        y0, y1 = min(y0, top + _STEP * (y - 2)), max(y1, top + _STEP * (y + h))
    x0, y0, x1, y1 = max(x0, left), max(y0, top), min(x1, left + width), min(y1, top + height)
    return x0, y0, x1 - x0, y1 - y0


def sample_displaced(
    image: Image, corner: tuple[int, int], small: Float, rectangle: Rectangle, sharp: Rectangle | None = None
) -> Image:
    """Return the pixels of ``rectangle``, RGB uint8 [height, width, 3], sampled from an image at displaced positions.

    ``image``: part of a frame, RGB uint8 [H, W, 3]. ``corner``: left and top coordinates of ``image`` in the frame.
    ``small``: ``displacement`` whose corner corresponds to the corner of ``rectangle``. ``sharp``: part of
    ``rectangle``, relative to its corner, in which interpolation is bicubic, with bilinear interpolation outside. By
    default, interpolation is bicubic everywhere.
    """
    displacement = upsample(_shifted(small, rectangle[0] - corner[0], rectangle[1] - corner[1]), rectangle)
    if sharp is None:
        return _remap(image, displacement, cv2.INTER_CUBIC)
    out = _remap(image, displacement, cv2.INTER_LINEAR)
    x, y, width, height = sharp
    here = (slice(y, y + height), slice(x, x + width))
    out[here] = _remap(image, _shifted(displacement[here], x, y), cv2.INTER_CUBIC)
    return out


def _shifted(displacement: Float, across: int, down: int) -> Float:
    """Return a displacement, float32 [h, w, 2], increased by ``across`` and ``down``."""
    return (displacement.view(np.complex64) + np.complex64(complex(across, down))).view(np.float32)


def _remap(image: Image, displacement: Float, interpolation: int) -> Image:
    flags, nothing = interpolation | cv2.WARP_RELATIVE_MAP, np.empty(0, np.float32)
    return np.asarray(cv2.remap(image, displacement, nothing, flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def even_rectangle(points: Float, margin: float, width: int, height: int) -> Rectangle:
    """Return the bounding box of ``points`` [K, 2] with a margin in pixels and even left and top coordinates.

    The box is clipped to the frame.
    """
    across, down = points[:, 0], points[:, 1]
    left = max(0, math.floor(across.min() - margin)) // 2 * 2
    top = max(0, math.floor(down.min() - margin)) // 2 * 2
    right = min(math.ceil(across.max() + margin) + 1, width)
    bottom = min(math.ceil(down.max() + margin) + 1, height)
    return left, top, max(0, right - left), max(0, bottom - top)
