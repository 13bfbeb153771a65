"""Compositing of a face edit into a frame. Only the crop that the edit covers is processed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.stages import FaceEdit

Image = NDArray[np.uint8]
Float = NDArray[np.float32]
Rectangle = tuple[int, int, int, int]
"""Rectangle (left, top, width, height) in pixels. An empty rectangle has width 0 and height 0."""

EMPTY: Rectangle = (0, 0, 0, 0)
_TRANSLATION_TOLERANCE = 1e-6
"""Maximum deviation of the matrix's linear part from the identity for the matrix to be treated as a translation."""
_SHIFT_TOLERANCE = 1e-3
"""Maximum deviation of a translation from an integer shift, in pixels."""
_WEIGHT_SCALE = 65536.0


def composite(frame: Image, edit: FaceEdit) -> Rectangle:
    """Paste an edit into ``frame`` (RGB uint8 [H, W, 3]) in place and return the rectangle of changed pixels.

    The composite is ``frame * (1 - mask) + image * mask``, rounded. Pixels with a mask value of 0 remain bit-identical.
    An edit whose matrix is an integer translation is not resampled. All other edits are resampled bilinearly. Edit
    pixels outside the frame are discarded.

    Raises:
        ValueError: the mask size differs from the image size, or the matrix is singular.
    """
    placed = placed_edit(frame.shape[1], frame.shape[0], edit)
    if placed is None:
        return EMPTY
    image, mask, left, top = placed
    height, width = mask.shape
    blend(frame[top : top + height, left : left + width], image, mask)
    return left, top, width, height


def blend(under: Image, image: Image, mask: Float) -> None:
    """Replace ``under`` by ``under * (1 - mask) + image * mask``, rounded, in place. All arrays have the same size."""
    # cv2.blendLinear divides by the sum of the weights plus 1e-5. The constant is negligible for large weights.
    weight = np.multiply(mask, np.float32(_WEIGHT_SCALE), dtype=np.float32)
    under[...] = cv2.blendLinear(image, under, weight, np.float32(_WEIGHT_SCALE) - weight)


def placed_edit(width: int, height: int, edit: FaceEdit) -> tuple[Image, Float, int, int] | None:
    """Return the part of an edit that ``composite`` pastes into a frame of the given size.

    The result is the image (RGB uint8 [h, w, 3]), the mask (float32 [h, w]) and the position (left, top) of both in the
    frame. The function returns None if no pixel of the frame changes.

    Raises:
        ValueError: the mask size differs from the image size, or the matrix is singular.
    """
    if edit.mask.shape != edit.image.shape[:2]:
        raise ValueError(f"the mask {edit.mask.shape} and the image {edit.image.shape[:2]} differ in size")
    shift = integer_shift(edit.matrix)
    image, mask, left, top = (edit.image, edit.mask, *shift) if shift is not None else _resample(width, height, edit)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + image.shape[1], width), min(top + image.shape[0], height)
    if x1 <= x0 or y1 <= y0:
        return None
    rows, columns = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    bounds = _mask_bounds(mask[rows, columns])
    if bounds is None:
        return None
    bx, by, bw, bh = bounds
    inside = (slice(rows.start + by, rows.start + by + bh), slice(columns.start + bx, columns.start + bx + bw))
    return image[inside], mask[inside], x0 + bx, y0 + by


def edited_bounds(edit: FaceEdit) -> Float | None:
    """Compute the bounds (left, top, right, bottom) of the mask's non-zero region in frame pixels, float32 [4].

    The bounds may extend beyond the frame. The function returns None if the mask is 0 everywhere. The matrix must be
    invertible.
    """
    bounds = _mask_bounds(edit.mask)
    if bounds is None:
        return None
    left, top, width, height = bounds
    right, bottom = left + width - 1, top + height - 1
    corners = np.array([[left, top, 1], [right, top, 1], [left, bottom, 1], [right, bottom, 1]], np.float64)
    in_frame = corners @ np.asarray(cv2.invertAffineTransform(np.asarray(edit.matrix, np.float64)), np.float64).T
    return np.concatenate([in_frame.min(0), in_frame.max(0)]).astype(np.float32)


def integer_shift(matrix: Float) -> tuple[int, int] | None:
    """Return the position (left, top) of an edit's top-left pixel in the frame.

    The function returns None if ``matrix`` [2, 3] is not an integer translation.
    """
    offset = -np.asarray(matrix[:, 2], np.float64)
    rounded = np.round(offset)
    if np.abs(matrix[:, :2] - np.eye(2)).max() > _TRANSLATION_TOLERANCE:
        return None
    if np.abs(offset - rounded).max() > _SHIFT_TOLERANCE:
        return None
    return int(rounded[0]), int(rounded[1])


def shift_matrix(left: int, top: int) -> Float:
    """Return the matrix, float32 [2, 3], of an edit whose top-left pixel is at (left, top) in the frame."""
    return np.array([[1, 0, -left], [0, 1, -top]], np.float32)


def _mask_bounds(mask: Float) -> Rectangle | None:
    """Return the bounding box of all positive values, or None if the mask has no positive value."""
    left, top, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    return (left, top, width, height) if width and height else None


def _resample(width: int, height: int, edit: FaceEdit) -> tuple[Image, Float, int, int]:
    """Resample an edit to the frame's pixel grid. Return the image, the mask and the position (left, top)."""
    matrix = np.asarray(edit.matrix, np.float64)
    if abs(float(np.linalg.det(matrix[:, :2]))) < 1e-9:
        raise ValueError("the edit's matrix is singular and cannot be inverted")
    to_frame = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    rows, columns = edit.image.shape[:2]
    corners = np.array([[-1, -1, 1], [columns, -1, 1], [-1, rows, 1], [columns, rows, 1]], np.float64) @ to_frame.T
    low = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, [width, height])
    if (high <= low).any():
        return np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0), np.float32), 0, 0
    # warpAffine with WARP_INVERSE_MAP expects the mapping from crop pixels to edit pixels.
    local = matrix.copy()
    local[:, 2] += matrix[:, :2] @ low
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(edit.image, local, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(edit.mask, local, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return image.astype(np.uint8), mask.astype(np.float32), int(low[0]), int(low[1])
