"""Putting an edit into a frame, and the two tools that hide its border: colour match and multi-band blend.

Everything works on the crop that an edit covers and never on the whole frame.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.stages import FaceEdit

Image = NDArray[np.uint8]
Float = NDArray[np.float32]
Rectangle = tuple[int, int, int, int]
"""left, top, width, height in pixels; width and height are 0 where there is nothing."""

NOTHING: Rectangle = (0, 0, 0, 0)
_EXACT = 1e-6
_WEIGHTS = 65536.0


def composite(frame: Image, edit: FaceEdit) -> Rectangle:
    """Pastes an edit into ``frame`` (RGB uint8 [H, W, 3]) in place and returns the rectangle that may have changed.

    ``frame * (1 - mask) + image * mask``, rounded. Pixels whose mask is 0 keep their bits. An edit whose matrix is an
    integer translation is not resampled; any other matrix is applied backwards, bilinear. Parts of the edit outside
    the frame are dropped. Raises ValueError when the mask and the image differ in size or the matrix cannot be
    inverted.
    """
    if edit.mask.shape != edit.image.shape[:2]:
        raise ValueError(f"mask {edit.mask.shape} and image {edit.image.shape[:2]} differ in size")
    shift = integer_shift(edit.matrix)
    if shift is not None:
        return _paste(frame, edit.image, edit.mask, *shift)
    image, mask, left, top = _resample(frame.shape[1], frame.shape[0], edit)
    return _paste(frame, image, mask, left, top)


def area(edit: FaceEdit) -> Float | None:
    """float32 [4]: left, top, right, bottom in pixels of the frame of what the mask lets through, also outside of the
    frame; None where the mask is 0 everywhere. The matrix must be one that can be inverted."""
    shown = _bounds(edit.mask)
    if shown is None:
        return None
    left, top, width, height = shown
    right, bottom = left + width - 1, top + height - 1
    corners = np.array([[left, top, 1], [right, top, 1], [left, bottom, 1], [right, bottom, 1]], np.float64)
    there = corners @ np.asarray(cv2.invertAffineTransform(np.asarray(edit.matrix, np.float64)), np.float64).T
    return np.concatenate([there.min(0), there.max(0)]).astype(np.float32)


def integer_shift(matrix: Float) -> tuple[int, int] | None:
    """(left, top) of the edit in the frame when ``matrix`` [2, 3] is a pure integer translation, else None."""
    offset = -np.asarray(matrix[:, 2], np.float64)
    whole = np.round(offset)
    if np.abs(matrix[:, :2] - np.eye(2)).max() > _EXACT or np.abs(offset - whole).max() > 1e-3:
        return None
    return int(whole[0]), int(whole[1])


def shift_matrix(left: int, top: int) -> Float:
    """float32 [2, 3], the matrix of an edit whose first pixel lies at (left, top) of the frame."""
    return np.array([[1, 0, -left], [0, 1, -top]], np.float32)


def _paste(frame: Image, image: Image, mask: Float, left: int, top: int) -> Rectangle:
    height, width = frame.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + image.shape[1], width), min(top + image.shape[0], height)
    if x1 <= x0 or y1 <= y0:
        return NOTHING
    inside = mask[y0 - top : y1 - top, x0 - left : x1 - left]
    box = _bounds(inside)
    if box is None:
        return NOTHING
    bx, by, bw, bh = box
    inside = inside[by : by + bh, bx : bx + bw]
    x0, y0 = x0 + bx, y0 + by
    new = image[y0 - top : y0 - top + bh, x0 - left : x0 - left + bw]
    target = frame[y0 : y0 + bh, x0 : x0 + bw]
    # cv2.blendLinear divides by the sum of the weights plus 1e-5, which is nothing beside _WEIGHTS.
    weight = np.multiply(inside, np.float32(_WEIGHTS), dtype=np.float32)
    target[...] = cv2.blendLinear(new, target, weight, np.float32(_WEIGHTS) - weight)
    return x0, y0, bw, bh


def _bounds(mask: Float) -> Rectangle | None:
    """Bounding box of the pixels above 0, or None."""
    left, top, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    return (left, top, width, height) if width and height else None


def _resample(width: int, height: int, edit: FaceEdit) -> tuple[Image, Float, int, int]:
    """Brings an edit to the frame's pixel grid: image, mask, left, top."""
    matrix = np.asarray(edit.matrix, np.float64)
    if abs(float(np.linalg.det(matrix[:, :2]))) < 1e-9:
        raise ValueError("the edit's matrix cannot be inverted")
    back = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    rows, columns = edit.image.shape[:2]
    corners = np.array([[-1, -1, 1], [columns, -1, 1], [-1, rows, 1], [columns, rows, 1]], np.float64) @ back.T
    low = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, [width, height])
    if (high <= low).any():
        return np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0), np.float32), 0, 0
    # warpAffine with WARP_INVERSE_MAP wants crop pixel -> edit pixel.
    local = matrix.copy()
    local[:, 2] += matrix[:, :2] @ low
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(edit.image, local, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(edit.mask, local, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return image.astype(np.uint8), mask.astype(np.float32), int(low[0]), int(low[1])


def low_frequency_offset(
    target: Float, moved: Float, weight: Float, sigma: float, limit: float = 60.0, reduce: int = 4
) -> Float:
    """Smooth colour difference that makes ``moved`` look lit like ``target``; add it to ``moved``.

    Normalised convolution (Knutsson and Westin, CVPR 1993) of ``target - moved`` with a Gaussian, so that pixels of
    weight 0 (lips, hands) do not speak but still get an offset from those around them.

    ``target`` and ``moved`` are float32 [H, W, 3]; ``weight`` float32 [H, W], at least 0; ``sigma`` in pixels;
    ``limit`` in grey levels. Computed at 1/``reduce`` of the size. Returns float32 [H, W, 3].
    """
    height, width = weight.shape
    spread = max(sigma / reduce, 0.3)
    both = cv2.merge([cv2.multiply(cv2.subtract(target, moved), cv2.merge([weight] * 3)), weight])
    # Filled up to whole cells with weight 0: then the reduction is a plain mean.
    fill = (-height % reduce, -width % reduce)
    both = cv2.copyMakeBorder(both, 0, fill[0], 0, fill[1], cv2.BORDER_CONSTANT, value=(0.0, 0.0, 0.0, 0.0))
    small = ((width + fill[1]) // reduce, (height + fill[0]) // reduce)
    *difference, share = cv2.split(
        cv2.GaussianBlur(cv2.resize(both, small, interpolation=cv2.INTER_AREA), (0, 0), spread)
    )
    share = share + np.float32(1e-3)
    offset = cv2.merge([np.clip(channel / share, -limit, limit) for channel in difference])
    full = cv2.resize(offset, (small[0] * reduce, small[1] * reduce), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full[:height, :width], np.float32)


def multi_band_blend(base: Float, top: Float, mask: Float, levels: int = 5) -> Float:
    """Laplacian-pyramid blend of ``top`` over ``base`` by ``mask``.

    Burt and Adelson, "A multiresolution spline with application to image mosaics", ACM TOG 1983. Images are float32
    [H, W, 3], the mask float32 [H, W] in [0, 1]. Levels that would be smaller than 4 pixels are left out. Where the
    mask is 0 the result is near ``base`` but not equal to it within the reach of the coarsest level; whoever pastes
    it limits the support. Returns float32 [H, W, 3], not clipped.
    """
    levels = min(levels, max(0, int(np.log2(max(1, min(mask.shape))) - 2)))
    # The blend is linear: base + reconstruct(mask pyramid * Laplacian pyramid of the difference).
    difference = cv2.subtract(top, base)
    differences, masks = [np.asarray(difference, np.float32)], [mask]
    for _ in range(levels):
        differences.append(np.asarray(cv2.pyrDown(differences[-1]), np.float32))
        masks.append(np.asarray(cv2.pyrDown(masks[-1]), np.float32))
    result = np.asarray(cv2.multiply(differences[-1], cv2.merge([masks[-1]] * 3)), np.float32)
    for level in range(levels - 1, -1, -1):
        detail = cv2.subtract(differences[level], _enlarged(differences[level + 1], masks[level]))
        detail = cv2.multiply(detail, cv2.merge([masks[level]] * 3))
        result = np.asarray(cv2.add(_enlarged(result, masks[level]), detail), np.float32)
    return np.asarray(cv2.add(base, result), np.float32)


def _enlarged(image: Float, like: Float) -> Float:
    return np.asarray(cv2.pyrUp(image, dstsize=(like.shape[1], like.shape[0])), np.float32)
