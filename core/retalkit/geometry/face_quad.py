"""Taking the aligned square of a face out of a picture and putting it back into another one of the same size.

The square is the rotated one of the FFHQ data set (Karras et al., "A style-based generator architecture for generative
adversarial networks", CVPR 2019, appendix A). VideoReTalking cuts it out of the picture that its expression editor made
and pastes it at the same place over the original picture, so that what lies outside of it stays. The pixels here are
those of the published steps, which sample with Pillow: centres at one half, products cut off instead of rounded.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.schemes import IBUG_CORNERS, IBUG_LEFT_EYE, IBUG_RIGHT_EYE

Double = NDArray[np.float64]
Image = NDArray[np.uint8]

PIXEL_CENTRE: Final = 0.5
"""Landmarks count from the first pixel's centre, the sampling here counts from its corner."""


def face_quad(landmarks: NDArray[np.float32] | Double) -> Double:
    """Corners float64 [4, 2] of the aligned square: upper left, lower left, lower right, upper right of the face.

    ``landmarks``: [68, 2 or 3] (ibug68) in pixels, y down. The corners are in the same pixels; they may lie outside of
    the picture. The square is centred a little below the eyes; half of its side is twice the distance of the eyes or
    1.8 times that from the eyes to the mouth, whichever is more.
    """
    points = np.asarray(landmarks, np.float64)[:, :2]
    left, right = points[IBUG_LEFT_EYE].mean(0), points[IBUG_RIGHT_EYE].mean(0)
    eyes = (left + right) / 2
    across = right - left
    down = points[list(IBUG_CORNERS)].mean(0) - eyes
    axis = across + (down[1], -down[0])
    axis *= max(2.0 * float(np.hypot(*across)), 1.8 * float(np.hypot(*down))) / float(np.hypot(*axis))
    upright = np.array([-axis[1], axis[0]])
    centre = eyes + 0.1 * down
    return np.stack(
        [centre - axis - upright, centre - axis + upright, centre + axis + upright, centre + axis - upright]
    )


def cut_quad(image: Image, quad: Double, size: int) -> Image:
    """uint8 [size, size, 3]: the part of ``image`` (uint8 [H, W, 3]) inside ``quad``, black where it lies outside.

    Bilinear in both senses: the corners are mapped to the corners, and pixels are mixed of four. A quad of more than
    ``4 * size`` pixels a side, which the published step shrinks before it samples, is sampled as it stands.
    """
    upper_left, lower_left, lower_right, upper_right = quad + PIXEL_CENTRE
    right, down = (upper_right - upper_left) / size, (lower_left - upper_left) / size
    twist = (lower_right - lower_left - upper_right + upper_left) / size / size
    x, y = _centres(size, size)
    places = upper_left + right * x + down * y + twist * (x * y)
    return _sampled(image, places[..., 0], places[..., 1])[0]


def perspective_to_square(quad: Double, size: int) -> Double:
    """float64 [8]: the coefficients (a to h) of the perspective map from ``quad``'s pixels to those of the square:
    ``u = (a x + b y + c) / (g x + h y + 1)``, ``v = (d x + e y + f) / (g x + h y + 1)``, counted from pixel corners.

    Raises LinAlgError where three corners lie on one line.
    """
    corners = quad + PIXEL_CENTRE
    square = np.array([[0, 0], [0, size], [size, size], [size, 0]], np.float64)
    rows = np.zeros((8, 8))
    rows[0::2, 0:2], rows[0::2, 2] = corners, 1
    rows[1::2, 3:5], rows[1::2, 5] = corners, 1
    rows[0::2, 6:] = -square[:, :1] * corners
    rows[1::2, 6:] = -square[:, 1:] * corners
    return np.linalg.solve(rows, square.reshape(8))


def paste_quad(base: Image, patch: Image, quad: Double) -> Image:
    """uint8 [H, W, 3]: ``base`` with ``patch`` (uint8 [size, size, 3], as ``cut_quad`` gave it) back at ``quad``.

    Pixels of ``base`` outside of the quad stay bit-identical.
    """
    a, b, c, d, e, f, g, h = perspective_to_square(quad, len(patch))
    x, y = (plane[..., 0] for plane in _centres(*base.shape[:2]))
    depth = g * x + h * y + 1
    pixels, inside = _sampled(patch, (a * x + b * y + c) / depth, (d * x + e * y + f) / depth)
    return np.where(inside[..., None], pixels, base)


def _centres(height: int, width: int) -> tuple[Double, Double]:
    """x [1, width, 1] and y [height, 1, 1] of pixel centres, counted from the corner of the first pixel."""
    return (
        (np.arange(width) + PIXEL_CENTRE)[None, :, None],
        (np.arange(height) + PIXEL_CENTRE)[:, None, None],
    )


def _sampled(image: Image, x: Double, y: Double) -> tuple[Image, NDArray[np.bool_]]:
    """Bilinear samples uint8 [..., 3] at places [...] counted from the first pixel's corner, and which of them lie on
    the picture; the others are black. Mixtures are cut off, not rounded."""
    height, width = image.shape[:2]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    out = np.zeros((*x.shape, 3), np.uint8)
    x, y = x[inside] - PIXEL_CENTRE, y[inside] - PIXEL_CENTRE
    column, row = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    right, down = (x - column)[:, None], (y - row)[:, None]
    columns = np.clip(column, 0, width - 1), np.clip(column + 1, 0, width - 1)
    above, below = (
        _mixed(image[line, columns[0]].astype(np.float64), image[line, columns[1]], right)
        for line in (np.clip(row, 0, height - 1), np.clip(row + 1, 0, height - 1))
    )
    out[inside] = _mixed(above, below, down).astype(np.uint8)
    return out, inside


def _mixed(one: Double, other: Double | Image, share: Double) -> Double:
    return one + (other - one) * share
