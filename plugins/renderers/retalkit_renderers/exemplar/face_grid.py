"""Coarse grid of skin samples around the mouth.

The grid follows the face mesh, so that each cell covers the same skin area in all frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.triangulation import delaunay, locate_cells

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

COLUMNS, ROWS = 64, 48
HALF_WIDTH = 0.62
ABOVE, BELOW = 0.42, 0.52
"""Grid extents above and below the mouth centre in IOD."""
INSET = 0.93
"""Scale of the face oval that bounds the grid. The scaled oval excludes hair and background."""
FACING = 0.45
"""Cosine between the surface normal and the viewing direction below which a skin cell is ignored."""


@dataclass(frozen=True, slots=True)
class FaceGrid:
    """Position of each grid cell on a person's face mesh."""

    corners: NDArray[np.int64]
    """Vertex indexes of the mesh triangle that contains each cell, int64 [ROWS * COLUMNS, 3]. The indexes are undefined
    for cells outside the face.
    """
    shares: Float
    """Barycentric coordinates of each cell in its triangle, float32 [ROWS * COLUMNS, 3]."""
    on_face: NDArray[np.bool_]
    """Mask of grid cells that lie on the face, bool [ROWS, COLUMNS]."""
    lips: NDArray[np.bool_]
    """Mask of lip and mouth cells with a small margin, bool [ROWS, COLUMNS].

    The appearance of these cells changes with speech.
    """
    normals: Float
    """Outward surface normals in the head frame, float32 [ROWS, COLUMNS, 3]."""

    @classmethod
    def from_shape(cls, shape: Float) -> FaceGrid:
        """Create the grid for a head-frame shape with a nearly closed mouth, float32 [478, 3]."""
        centre = shape[[13, 14], :2].mean(0)
        x = centre[0] + np.linspace(-HALF_WIDTH, HALF_WIDTH, COLUMNS, dtype=np.float32)
        y = centre[1] + np.linspace(-ABOVE, BELOW, ROWS, dtype=np.float32)
        points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        flat = shape[: mesh478.MESH_COUNT, :2].astype(np.float64)
        triangles = delaunay(flat)
        number = locate_cells(flat, triangles, x.astype(np.float64), y.astype(np.float64)).reshape(-1)
        corners = triangles[np.maximum(number, 0)]
        shares = _barycentric(points, shape[corners, :2].astype(np.float64))
        oval = shape[list(mesh478.FACE_OVAL), :2]
        oval = oval.mean(0) + INSET * (oval - oval.mean(0))
        on_face = (number >= 0).reshape(ROWS, COLUMNS) & _filled(oval, x, y)
        margin = np.ones((5, 5), np.uint8)
        lips = cv2.dilate(_filled(shape[list(mesh478.OUTER_LIPS), :2], x, y).astype(np.uint8), margin) > 0
        depth = (shape[corners, 2] * shares).sum(1).reshape(ROWS, COLUMNS).astype(np.float32)
        depth = cv2.GaussianBlur(depth, (0, 0), 2.0)
        down, across = np.gradient(depth, y, x)
        normals = np.stack([across, down, -np.ones_like(depth)], -1)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        return cls(corners, shares, on_face, lips, normals.astype(np.float32))

    def pixels(self, landmarks: Float) -> Float:
        """Return the cells' positions in pixels, float32 [ROWS, COLUMNS, 2], for landmarks [478, 3]."""
        corners = np.ascontiguousarray(landmarks[:, :2], np.float32).view(np.complex64)[:, 0].take(self.corners)
        corners *= self.shares
        points = corners[:, 0] + corners[:, 1] + corners[:, 2]
        return points.view(np.float32).reshape(ROWS, COLUMNS, 2)

    def visible(self, rotation: Float) -> NDArray[np.bool_]:
        """Return a mask of face cells that face the camera, bool [ROWS, COLUMNS], for a head rotation [3, 3]."""
        return self.on_face & (-(self.normals @ rotation[2]) > FACING)

    def sample(self, image: Image, landmarks: Float, corner: tuple[int, int] = (0, 0)) -> Float:
        """Return the mean RGB values of the cells, float32 [ROWS, COLUMNS, 3] in [0, 1].

        ``image``: part of a frame that contains the grid, RGB uint8 [h, w, 3]. ``corner``: left and top coordinates of
        ``image`` in the frame.
        """
        points = self.pixels(landmarks)
        across, down = cv2.split(points)
        on_face = self.on_face.view(np.uint8)
        (left, right, *_), (top, bottom, *_) = cv2.minMaxLoc(across, on_face), cv2.minMaxLoc(down, on_face)
        x0, x1 = max(math.floor(left) - 2, corner[0]), min(math.ceil(right) + 3, corner[0] + image.shape[1])
        y0, y1 = max(math.floor(top) - 2, corner[1]), min(math.ceil(bottom) + 3, corner[1] + image.shape[0])
        if x1 - x0 < 2 or y1 - y0 < 2:
            return np.zeros((ROWS, COLUMNS, 3), np.float32)
        crop = image[y0 - corner[1] : y1 - corner[1], x0 - corner[0] : x1 - corner[0]]
        step = float(np.linalg.norm(points[ROWS // 2, -1] - points[ROWS // 2, 0])) / COLUMNS
        shrink = 1 / max(1.0, step)
        size = (max(1, round(crop.shape[1] * shrink)), max(1, round(crop.shape[0] * shrink)))
        small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA) if shrink < 1 else crop
        across = (across - np.float32(x0 - 0.5)) * np.float32(small.shape[1] / crop.shape[1]) - np.float32(0.5)
        down = (down - np.float32(y0 - 0.5)) * np.float32(small.shape[0] / crop.shape[0]) - np.float32(0.5)
        cells = cv2.remap(small, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return cells.astype(np.float32) * np.float32(1 / 255)

    def to_rectangle(self, cells: Float, landmarks: Float, rectangle: tuple[int, int, int, int]) -> Float:
        """Return cell values [ROWS, COLUMNS], resampled to a frame rectangle (left, top, width, height).

        The transform is the affine map that fits the cells best. It is accurate enough for soft masks and does not
        fold.
        """
        left, top, width, height = rectangle
        points = self.pixels(landmarks)[self.on_face] - [left, top]
        row, column = np.nonzero(self.on_face)
        basis = np.column_stack([column, row, np.ones(len(row))])
        matrix, *_ = np.linalg.lstsq(basis, points, rcond=None)
        image = cv2.warpAffine(cells, matrix.T, (width, height), flags=cv2.INTER_LINEAR)
        return np.asarray(image, np.float32)


def _filled(outline: Float, x: Float, y: Float) -> NDArray[np.bool_]:
    """Return a mask of grid cells inside a closed head-frame outline [K, 2], bool [ROWS, COLUMNS]."""
    cells = np.stack([(outline[:, 0] - x[0]) / (x[1] - x[0]), (outline[:, 1] - y[0]) / (y[1] - y[0])], 1)
    filled = np.zeros((ROWS, COLUMNS), np.uint8)
    cv2.fillPoly(filled, [np.round(cells).astype(np.int32)], (1.0,))
    return filled > 0


def _barycentric(points: NDArray[np.float64], corners: NDArray[np.float64]) -> Float:
    """Return the barycentric coordinates of each point [K, 2] in its triangle [K, 3, 2], float32 [K, 3]."""

    def area(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
        return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])

    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    parts = np.stack([area(points, b, c), area(a, points, c), area(a, b, points)], 1)
    return (parts / parts.sum(1, keepdims=True)).astype(np.float32)
