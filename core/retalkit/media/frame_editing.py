"""Pixel replacement in decoded frames. Samples outside the edit stay bit-identical."""

from __future__ import annotations

from collections.abc import Callable

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.media.colour import (
    RANGE_FULL,
    UNSPECIFIED,
    chroma_mean,
    guess_matrix,
    planes_444_to_rgb,
    planes_to_rgb,
    rgb_to_yuv,
    rgb_to_yuv_matrix,
    sample_scale,
    yuv_to_rgb,
)
from retalkit.media.pixel_format import FORMATS
from retalkit.media.yuv_frames import as_full_range_yuv420p, copy_frame, new_frame, planes_of, reformatted


def _matrix_and_range(frame: av.VideoFrame) -> tuple[int, bool]:
    """Return the frame's colour matrix code and whether the samples use the full range."""
    matrix = int(frame.colorspace)
    full = int(frame.color_range) == RANGE_FULL or frame.format.name == "yuvj420p"
    return (guess_matrix(frame.width, frame.height) if matrix == UNSPECIFIED else matrix), full


def _as_planar(frame: av.VideoFrame) -> av.VideoFrame:
    return frame if frame.format.name in ("yuv420p", "yuvj420p") else reformatted(frame, "yuv420p")


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


def frame_part(frame: av.VideoFrame, left: int, top: int, width: int, height: int) -> av.VideoFrame:
    """Return a copy of a rectangle of a ``yuv420p`` frame. All sides must be even, except at the border of the frame.

    ``rgb_region`` of the copy is bit-identical to that of the frame.
    """
    part = new_frame(width, height, frame)
    # An unspecified matrix is guessed from the size of the whole frame.
    part.colorspace = _matrix_and_range(frame)[0]
    luma, *chroma = planes_of(frame)
    copy, *chroma_copies = planes_of(part)
    np.copyto(copy, luma[top : top + height, left : left + width])
    for target, plane in zip(chroma_copies, chroma, strict=True):
        x, y = left // 2, top // 2
        np.copyto(target, plane[y : y + target.shape[0], x : x + target.shape[1]])
    return part


def reduced_rgb(frame: av.VideoFrame, factor: int) -> NDArray[np.uint8]:
    """Convert a frame to RGB uint8 [H // factor, W // factor, 3], reduced by area averaging.

    The planes are reduced before the conversion if ``factor`` is at least 3. For smaller factors, the rounding of the
    reduced planes would cause errors of several grey levels, so the image is reduced after the conversion. Up to
    ``factor`` - 1 pixels at the right and bottom borders are discarded. ``factor`` must be positive and at most the
    smaller side of the frame.
    """
    height, width = frame.height // factor, frame.width // factor
    if factor < 3:
        image = to_rgb(frame)[: height * factor, : width * factor]
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    frame = _as_planar(frame)
    luma, *chroma = planes_of(frame)
    parts = [luma[: height * factor, : width * factor]]
    # If the reduced image covers half of a chroma sample at its border, the complete sample is used.
    parts += [plane[: (height * factor + 1) // 2, : (width * factor + 1) // 2] for plane in chroma]
    planes = [np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.uint8) for part in parts]
    return planes_444_to_rgb(planes, *_matrix_and_range(frame))


def sampled_rgb(frame: av.VideoFrame, step: int) -> NDArray[np.uint8]:
    """Convert every ``step``-th pixel of a frame, starting at ``step // 2``, to RGB uint8 [h, w, 3].

    The result is bit-identical to the corresponding pixels of ``to_rgb(frame)``.
    """
    frame = _as_planar(frame)
    luma, *chroma = planes_of(frame)
    rows, columns = (np.arange(step // 2, size, step) for size in luma.shape)
    planes = [luma[step // 2 :: step, step // 2 :: step]]
    planes += [plane[rows[:, None] // 2, columns // 2] for plane in chroma]
    return planes_444_to_rgb(planes, *_matrix_and_range(frame))


def apply_edits(
    frame: av.VideoFrame, rgb_patch: NDArray[np.uint8], left: int, top: int, mask: NDArray[np.bool_] | None = None
) -> av.VideoFrame:
    """Return a ``yuv420p`` copy of ``frame`` with the RGB patch uint8 [h, w, 3] pasted at (left, top).

    Parts of the patch outside the frame are ignored. Luma samples outside the patch or at positions where ``mask``
    (bool [h, w]) is False stay bit-identical. Chroma samples that cover only unchanged pixels also stay bit-identical.
    A chroma sample that covers both changed and unchanged pixels is the mean over all pixels that the sample covers.
    """
    copy = _editable(frame)
    first_row, first_column = max(-top, 0), max(-left, 0)
    visible = (slice(first_row, max(frame.height - top, 0)), slice(first_column, max(frame.width - left, 0)))
    image = rgb_patch[visible]
    if image.size:
        _paste(copy, image, left + first_column, top + first_row, None if mask is None else mask[visible])
    return copy


def edit_region(
    frame: av.VideoFrame,
    rectangle: tuple[int, int, int, int],
    edit: Callable[[NDArray[np.uint8]], None],
    crop: Callable[[int, int, int, int], NDArray[np.uint8]] | None = None,
) -> av.VideoFrame:
    """Return a ``yuv420p`` copy of ``frame`` in which ``edit`` has changed a rectangle (left, top, width, height).

    ``edit`` receives the RGB image of the rectangle, uint8 [height, width, 3], and changes it in place. Luma samples
    outside the rectangle, and chroma samples that cover only pixels outside it, stay bit-identical. ``crop`` returns
    the RGB image of a rectangle of the frame, for callers that have already converted it.

    Raises:
        ValueError: the rectangle is empty or extends outside the frame.
    """
    copy = _editable(frame)
    left, top, width, height = rectangle
    cells = _chroma_cells(copy, left, top, left + width, top + height)
    block = rgb_region(copy, *cells) if crop is None else crop(*cells).copy()
    edit(block[top - cells[1] :, left - cells[0] :][:height, :width])
    _store(copy, block, cells[0], cells[1], (left, top, left + width, top + height), None)
    return copy


def _editable(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a ``yuv420p`` copy of the frame."""
    if frame.format.name == "yuv420p":
        return copy_frame(frame)
    return as_full_range_yuv420p(frame) if frame.format.name == "yuvj420p" else _as_planar(frame)


def _chroma_cells(frame: av.VideoFrame, left: int, top: int, right: int, bottom: int) -> tuple[int, int, int, int]:
    """Return the rectangle (left, top, width, height) of the complete 2x2 blocks that cover a rectangle.

    Each chroma sample covers one block.
    """
    first_column, first_row = left - left % 2, top - top % 2
    last_column, last_row = min(right + right % 2, frame.width), min(bottom + bottom % 2, frame.height)
    return first_column, first_row, last_column - first_column, last_row - first_row


def _paste(frame: av.VideoFrame, image: NDArray[np.uint8], left: int, top: int, mask: NDArray[np.bool_] | None) -> None:
    """Paste a patch that is completely inside the frame."""
    right, bottom = left + image.shape[1], top + image.shape[0]
    cells = _chroma_cells(frame, left, top, right, bottom)
    first_column, first_row, width, height = cells
    if (width, height) == image.shape[1::-1] and mask is None:
        block = np.ascontiguousarray(image)
    else:
        block = rgb_region(frame, *cells)
        target = block[top - first_row : bottom - first_row, left - first_column : right - first_column]
        if mask is None:
            np.copyto(target, image)
        else:
            cv2.copyTo(np.ascontiguousarray(image), np.ascontiguousarray(mask).view(np.uint8), target)
    _store(frame, block, first_column, first_row, (left, top, right, bottom), mask)


def _store(
    frame: av.VideoFrame,
    block: NDArray[np.uint8],
    first_column: int,
    first_row: int,
    changed: tuple[int, int, int, int],
    mask: NDArray[np.bool_] | None,
) -> None:
    """Write the RGB image of complete 2x2 blocks into the frame.

    ``changed``: rectangle (left, top, right, bottom) of the pixels to write. ``mask``: see ``apply_edits``.
    """
    left, top, right, bottom = changed
    new_luma, new_blue, new_red = rgb_to_yuv(np.ascontiguousarray(block), *_matrix_and_range(frame))
    luma, blue, red = planes_of(frame)
    luma_part = new_luma[top - first_row : bottom - first_row, left - first_column : right - first_column]
    cells = (
        slice(first_row // 2, first_row // 2 + new_blue.shape[0]),
        slice(first_column // 2, first_column // 2 + new_blue.shape[1]),
    )
    if mask is None:
        luma[top:bottom, left:right] = luma_part
        blue[cells], red[cells] = new_blue, new_red
        return
    np.copyto(luma[top:bottom, left:right], luma_part, where=mask)
    full = np.zeros((new_blue.shape[0] * 2, new_blue.shape[1] * 2), dtype=np.bool_)
    full[top - first_row : bottom - first_row, left - first_column : right - first_column] = mask
    covered = full[::2, ::2] | full[1::2, ::2] | full[::2, 1::2] | full[1::2, 1::2]
    np.copyto(blue[cells], new_blue, where=covered)
    np.copyto(red[cells], new_red, where=covered)


def blend_edit(
    frame: av.VideoFrame, image: NDArray[np.uint8], mask: NDArray[np.float32], left: int, top: int
) -> av.VideoFrame:
    """Return a copy of a planar frame of any depth with ``frame * (1 - mask) + image * mask`` at (left, top).

    ``image``: RGB uint8 [h, w, 3]. ``mask``: float32 [h, w] in [0, 1]. The rectangle must be inside the frame. The
    change of each pixel is computed in floating point and added to the frame's samples. Luma samples of pixels with a
    mask of 0 and chroma samples that cover only such pixels are therefore bit-identical, and all other samples keep the
    precision of the frame where the mask is small.
    """
    copy = copy_frame(frame)
    pixel_format = FORMATS[copy.format.name]
    matrix, full = _matrix_and_range(frame)
    x, y = pixel_format.chroma_x, pixel_format.chroma_y
    height, width = mask.shape
    # The rectangle is extended to complete chroma cells.
    first_column, first_row = left - left % x, top - top % y
    last_column, last_row = (
        min(left + width + (-(left + width)) % x, frame.width),
        min(top + height + (-(top + height)) % y, frame.height),
    )
    rows, columns = slice(first_row, last_row), slice(first_column, last_column)
    cells = (
        slice(first_row // y, (last_row + y - 1) // y),
        slice(first_column // x, (last_column + x - 1) // x),
    )
    luma, blue, red = planes_of(copy)
    base = planes_to_rgb(luma[rows, columns], blue[cells], red[cells], matrix, full, pixel_format)
    change = np.zeros_like(base)
    inside = (
        slice(top - first_row, top - first_row + height),
        slice(left - first_column, left - first_column + width),
    )
    change[inside] = (image.astype(np.float32) - base[inside]) * mask[..., None]
    linear = rgb_to_yuv_matrix(matrix, full)[:, :3]
    scale, limit = sample_scale(pixel_format.depth, full), 2**pixel_format.depth - 1
    luma_change = np.asarray(cv2.transform(change, linear[:1]), np.float32).reshape(change.shape[:2])
    chroma_change = np.asarray(cv2.transform(chroma_mean(change, pixel_format), linear[1:]), np.float32)
    changes = (
        (luma, (rows, columns), luma_change),
        *((plane, cells, chroma_change[..., number]) for number, plane in enumerate((blue, red))),
    )
    for plane, part, values in changes:
        changed = np.rint(plane[part].astype(np.float32) + values * np.float32(scale))
        plane[part] = np.clip(changed, 0, limit).astype(plane.dtype)
    return copy
