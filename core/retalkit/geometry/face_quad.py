"""Extraction of an aligned face square from an image, and pasting of the square into an image of equal size.

The square is the rotated FFHQ square (Karras et al., "A style-based generator architecture for generative adversarial
networks", CVPR 2019, appendix A). VideoReTalking extracts the square from its expression editor's output and pastes the
square into the original image at an identical position. Pixels outside the square stay unchanged. This implementation
reproduces the pixel values of the published code, which samples with Pillow. Pillow defines pixel centres at 0.5 and
truncates values instead of rounding them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.schemes import IBUG_CORNERS, IBUG_LEFT_EYE, IBUG_RIGHT_EYE

Double = NDArray[np.float64]
Image = NDArray[np.uint8]

PIXEL_CENTRE: Final = 0.5
"""Offset between landmark coordinates (origin at the first pixel's centre) and sampling coordinates (origin at the
first pixel's corner).
"""


def face_quad(landmarks: NDArray[np.float32] | Double) -> Double:
    """Return the corners of the aligned square, float64 [4, 2]: upper left, lower left, lower right, upper right.

    ``landmarks``: ibug68 landmarks, [68, 2 or 3], in pixels, y down. The corners are also in landmark coordinates and
    may be outside the image. The square is centred slightly below the eyes. Half of its side length is twice the
    distance between the eyes or 1.8 times the distance from the eyes to the mouth, whichever is larger.
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


def extract_quad(image: Image, quad: Double, size: int) -> Image:
    """Sample the region ``quad`` of ``image`` (uint8 [H, W, 3]) as uint8 [size, size, 3].

    Samples outside the image are black. Both the corner mapping and the interpolation are bilinear. The published code
    downsamples a quad of more than ``4 * size`` pixels per side before sampling, whereas this function samples the
    image directly.
    """
    upper_left, lower_left, lower_right, upper_right = quad + PIXEL_CENTRE
    right, down = (upper_right - upper_left) / size, (lower_left - upper_left) / size
    twist = (lower_right - lower_left - upper_right + upper_left) / size / size
    x, y = _centres(size, size)
    positions = upper_left + right * x + down * y + twist * (x * y)
    return _sample(image, positions[..., 0], positions[..., 1])[0]


def perspective_to_square(quad: Double, size: int) -> Double:
    """Return the coefficients a to h of the perspective map from image pixels to the square, float64 [8].

    ``u = (a x + b y + c) / (g x + h y + 1)``, ``v = (d x + e y + f) / (g x + h y + 1)``, with the origin at the first
    pixel's corner.

    Raises:
        LinAlgError: three corners are collinear.
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
    """Paste ``patch`` (uint8 [size, size, 3] from ``extract_quad``) into ``base`` at ``quad``. Return uint8 [H, W, 3].

    Pixels outside the quad stay bit-identical to ``base``.
    """
    a, b, c, d, e, f, g, h = perspective_to_square(quad, len(patch))
    x, y = (plane[..., 0] for plane in _centres(*base.shape[:2]))
    depth = g * x + h * y + 1
    pixels, inside = _sample(patch, (a * x + b * y + c) / depth, (d * x + e * y + f) / depth)
    return np.where(inside[..., None], pixels, base)


def _centres(height: int, width: int) -> tuple[Double, Double]:
    """Return pixel centres x [1, width, 1] and y [height, 1, 1], with the origin at the first pixel's corner."""
    return (
        (np.arange(width) + PIXEL_CENTRE)[None, :, None],
        (np.arange(height) + PIXEL_CENTRE)[:, None, None],
    )


def _sample(image: Image, x: Double, y: Double) -> tuple[Image, NDArray[np.bool_]]:
    """Return bilinear samples uint8 [..., 3] at positions [...] and a mask of the positions inside the image.

    Positions are relative to the first pixel's corner. Samples outside the image are black. Values are truncated
    instead of rounded.
    """
    height, width = image.shape[:2]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    out = np.zeros((*x.shape, 3), np.uint8)
    x, y = x[inside] - PIXEL_CENTRE, y[inside] - PIXEL_CENTRE
    column, row = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    right, down = (x - column)[:, None], (y - row)[:, None]
    columns = np.clip(column, 0, width - 1), np.clip(column + 1, 0, width - 1)
    above, below = (
        _interpolate(image[line, columns[0]].astype(np.float64), image[line, columns[1]], right)
        for line in (np.clip(row, 0, height - 1), np.clip(row + 1, 0, height - 1))
    )
    out[inside] = _interpolate(above, below, down).astype(np.uint8)
    return out, inside


def _interpolate(one: Double, other: Double | Image, share: Double) -> Double:
    return one + (other - one) * share
