"""Rasterisation of triangles to an image of triangle indexes.

All triangles are rasterised together with NumPy. For the small triangles of a face mesh, this is faster than one OpenCV
call per triangle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.intp]

_REACH = 0.1
"""Distance in pixels up to which a pixel centre outside a triangle still belongs to the triangle. Rounding therefore
leaves no gaps between adjacent triangles.
"""


def triangle_index(corners: NDArray[np.complex128], width: int, height: int) -> Integers:
    """Return the index of the last triangle that covers each pixel centre, [height, width].

    ``corners``: corners of the triangles as complex numbers (x + iy), complex128 [3, M], in the order in which the
    triangles are drawn. The centre of the first pixel is at 0. For pixels outside all triangles, the index is M.
    """
    triangle, row, start, stop = _spans(corners, width, height)
    length = np.maximum(stop - start, 0)
    first = row * width + start - (np.cumsum(length) - length)
    pixels = np.repeat(first, length)
    pixels += np.arange(len(pixels))
    out = np.full(width * height, corners.shape[1], np.intp)
    out[pixels] = np.repeat(triangle, length)
    return out.reshape(height, width)


def _spans(corners: NDArray[np.complex128], width: int, height: int) -> tuple[Integers, Integers, Integers, Integers]:
    """Return one span for each pixel row of each triangle: triangle, row, first column and end of the columns, [S]."""
    count = corners.shape[1]
    # NumPy sorts complex numbers by their real part, so the real part becomes y.
    ordered = np.sort(1j * corners.conj(), axis=0)
    x, y = np.ascontiguousarray(ordered.imag), np.ascontiguousarray(ordered.real)
    top = np.maximum(np.ceil(y[0] - _REACH), 0).astype(np.intp)
    rows = np.maximum(np.minimum(np.floor(y[2] + _REACH), height - 1).astype(np.intp) - top + 1, 0)
    triangle = np.repeat(np.arange(count), rows)
    row = np.arange(len(triangle)) + np.repeat(top - (np.cumsum(rows) - rows), rows)
    # In each row, one end of the span lies on the edge from the highest to the lowest corner, and the other end lies on
    # one of the two short edges. The edges are listed in this order.
    begin, end = np.array([0, 0, 1]), np.array([2, 1, 2])
    slope = (x[end] - x[begin]) / np.maximum(y[end] - y[begin], 1e-9)
    offset = (x[begin] - slope * y[begin]).ravel()
    slope = slope.ravel()
    short = triangle + count * np.where(row < y[1].take(triangle), 1, 2)
    ends = [offset.take(edge) + slope.take(edge) * row for edge in (triangle, short)]
    # Rows slightly above or below a triangle do not intersect its edges.
    left = np.maximum(np.minimum(*ends), x.min(0).take(triangle)) - _REACH
    right = np.minimum(np.maximum(*ends), x.max(0).take(triangle)) + _REACH
    start = np.maximum(np.ceil(left), 0).astype(np.intp)
    return triangle, row, start, np.minimum(np.floor(right) + 1, width).astype(np.intp)
