"""Pixel replacement in decoded frames. Samples outside the edit stay bit-identical."""

from __future__ import annotations

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.media.colour import RANGE_FULL, UNSPECIFIED, guess_matrix, rgb_to_yuv, yuv_to_rgb
from retalkit.media.yuv_frames import as_full_range_yuv420p, copy_frame, planes_of


def _matrix_and_range(frame: av.VideoFrame) -> tuple[int, bool]:
    """Return the frame's colour matrix code and whether the samples use the full range."""
    matrix = int(frame.colorspace)
    full = int(frame.color_range) == RANGE_FULL or frame.format.name == "yuvj420p"
    return (guess_matrix(frame.width, frame.height) if matrix == UNSPECIFIED else matrix), full


def _as_planar(frame: av.VideoFrame) -> av.VideoFrame:
    if frame.format.name in ("yuv420p", "yuvj420p"):
        return frame
    return frame.reformat(format="yuv420p", threads=1)


def to_rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Convert a frame to RGB uint8 [H, W, 3] with the frame's colour matrix and range."""
    frame = _as_planar(frame)
    luma, blue, red = planes_of(frame)
    return yuv_to_rgb(luma, blue, red, *_matrix_and_range(frame))


def rgb_region(frame: av.VideoFrame, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
    """Convert a rectangle of the frame to RGB uint8 [height, width, 3].

    The result is bit-identical to the corresponding region of ``to_rgb(frame)``.

    Raises:
        ValueError: the rectangle is empty or extends outside the frame.
    """
    if left < 0 or top < 0 or width < 1 or height < 1 or left + width > frame.width or top + height > frame.height:
        raise ValueError(
            f"rectangle {width}x{height} at ({left}, {top}) exceeds the frame size {frame.width}x{frame.height}"
        )
    frame = _as_planar(frame)
    luma, blue, red = planes_of(frame)
    first_column, first_row = left - left % 2, top - top % 2
    half_columns = slice(first_column // 2, (left + width + 1) // 2)
    half_rows = slice(first_row // 2, (top + height + 1) // 2)
    block = yuv_to_rgb(
        luma[first_row : top + height, first_column : left + width],
        blue[half_rows, half_columns],
        red[half_rows, half_columns],
        *_matrix_and_range(frame),
    )
    return block[top - first_row :, left - first_column :]


def apply_edits(
    frame: av.VideoFrame, rgb_patch: NDArray[np.uint8], left: int, top: int, mask: NDArray[np.bool_] | None = None
) -> av.VideoFrame:
    """Return a ``yuv420p`` copy of ``frame`` with the RGB patch uint8 [h, w, 3] pasted at (left, top).

    Parts of the patch outside the frame are ignored. Luma samples outside the patch or at positions where ``mask``
    (bool [h, w]) is False stay bit-identical. Chroma samples that cover only unchanged pixels also stay bit-identical.
    A chroma sample that covers both changed and unchanged pixels is the mean over all pixels that the sample covers.
    """
    name = frame.format.name
    if name == "yuv420p":
        copy = copy_frame(frame)
    elif name == "yuvj420p":
        copy = as_full_range_yuv420p(frame)
    else:
        copy = _as_planar(frame)
    first_row, first_column = max(-top, 0), max(-left, 0)
    visible = (slice(first_row, max(frame.height - top, 0)), slice(first_column, max(frame.width - left, 0)))
    image = rgb_patch[visible]
    if image.size:
        _paste(copy, image, left + first_column, top + first_row, None if mask is None else mask[visible])
    return copy


def _paste(frame: av.VideoFrame, image: NDArray[np.uint8], left: int, top: int, mask: NDArray[np.bool_] | None) -> None:
    """Paste a patch that is completely inside the frame."""
    right, bottom = left + image.shape[1], top + image.shape[0]
    # A chroma sample covers 2x2 pixels, so the edit is extended to complete 2x2 blocks.
    first_column, first_row = left - left % 2, top - top % 2
    last_column, last_row = min(right + right % 2, frame.width), min(bottom + bottom % 2, frame.height)
    aligned = (first_column, first_row, last_column, last_row) == (left, top, right, bottom)
    if aligned and mask is None:
        block = np.ascontiguousarray(image)
    else:
        block = rgb_region(frame, first_column, first_row, last_column - first_column, last_row - first_row)
        target = block[top - first_row : bottom - first_row, left - first_column : right - first_column]
        if mask is None:
            np.copyto(target, image)
        else:
            cv2.copyTo(np.ascontiguousarray(image), np.ascontiguousarray(mask).view(np.uint8), target)

    new_luma, new_blue, new_red = rgb_to_yuv(np.ascontiguousarray(block), *_matrix_and_range(frame))
    luma, blue, red = planes_of(frame)
    luma_part = new_luma[top - first_row : bottom - first_row, left - first_column : right - first_column]
    np.copyto(luma[top:bottom, left:right], luma_part, where=True if mask is None else mask)
    cells = (
        slice(first_row // 2, first_row // 2 + new_blue.shape[0]),
        slice(first_column // 2, first_column // 2 + new_blue.shape[1]),
    )
    changed: NDArray[np.bool_] | bool = True
    if mask is not None:
        full = np.zeros((new_blue.shape[0] * 2, new_blue.shape[1] * 2), dtype=np.bool_)
        full[top - first_row : bottom - first_row, left - first_column : right - first_column] = mask
        changed = full[::2, ::2] | full[1::2, ::2] | full[::2, 1::2] | full[1::2, 1::2]
    np.copyto(blue[cells], new_blue, where=changed)
    np.copyto(red[cells], new_red, where=changed)
