"""New pixels put into a decoded frame without touching a sample outside them."""

from __future__ import annotations

from dataclasses import dataclass

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.media.colour import RANGE_FULL, UNSPECIFIED, guess_matrix, rgb_to_yuv, yuv_to_rgb
from retalkit.media.yuv_frames import copy_frame, planes_of, relabelled_full_range


@dataclass(frozen=True, slots=True)
class Patch:
    """A rectangle of new pixels."""

    image: NDArray[np.uint8]
    """RGB uint8 [h, w, 3]."""
    left: int
    top: int
    mask: NDArray[np.bool_] | None = None
    """bool [h, w]: pixels that may change; None: all of them."""


@dataclass(frozen=True, slots=True)
class FrameWithEdits:
    """A frame and the patches that go into it; the encoder's thread joins them."""

    frame: av.VideoFrame
    patches: tuple[Patch, ...]

    def joined(self) -> av.VideoFrame:
        """A new frame; ``frame`` itself stays as it is."""
        return _edited(self.frame, self.patches)


def _read_as(frame: av.VideoFrame) -> tuple[int, bool]:
    matrix = int(frame.colorspace)
    full = int(frame.color_range) == RANGE_FULL or frame.format.name == "yuvj420p"
    return (guess_matrix(frame.width, frame.height) if matrix == UNSPECIFIED else matrix), full


def _as_planar(frame: av.VideoFrame) -> av.VideoFrame:
    if frame.format.name in ("yuv420p", "yuvj420p"):
        return frame
    return frame.reformat(format="yuv420p", threads=1)


def to_rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """The whole frame as RGB uint8 [H, W, 3], by the frame's own matrix and range."""
    frame = _as_planar(frame)
    luma, blue, red = planes_of(frame)
    return yuv_to_rgb(luma, blue, red, *_read_as(frame))


def rgb_region(frame: av.VideoFrame, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
    """RGB uint8 [height, width, 3] of a rectangle inside the frame: exactly ``to_rgb(frame)`` there.

    Raises:
        ValueError: the rectangle is empty or reaches outside the frame.
    """
    if left < 0 or top < 0 or width < 1 or height < 1 or left + width > frame.width or top + height > frame.height:
        raise ValueError(f"rectangle {left},{top} {width}x{height} is not inside {frame.width}x{frame.height}")
    frame = _as_planar(frame)
    luma, blue, red = planes_of(frame)
    first_column, first_row = left - left % 2, top - top % 2
    half_columns = slice(first_column // 2, (left + width + 1) // 2)
    half_rows = slice(first_row // 2, (top + height + 1) // 2)
    block = yuv_to_rgb(
        luma[first_row : top + height, first_column : left + width],
        blue[half_rows, half_columns],
        red[half_rows, half_columns],
        *_read_as(frame),
    )
    return block[top - first_row :, left - first_column :]


def apply_edits(
    frame: av.VideoFrame, rgb_patch: NDArray[np.uint8], left: int, top: int, mask: NDArray[np.bool_] | None = None
) -> av.VideoFrame:
    """A ``yuv420p`` copy of ``frame`` with RGB uint8 [h, w, 3] at (left, top), parts outside the frame left out.

    Luma samples outside the patch (or where ``mask``, bool [h, w], is False) and chroma samples that cover no
    changed pixel are bit-identical to the frame's own. A chroma sample that covers changed and unchanged pixels is
    the mean of both.
    """
    return _edited(frame, (Patch(rgb_patch, left, top, mask),))


def _edited(frame: av.VideoFrame, patches: tuple[Patch, ...]) -> av.VideoFrame:
    name = frame.format.name
    if name == "yuv420p":
        copy = copy_frame(frame)
    elif name == "yuvj420p":
        copy = relabelled_full_range(frame)
    else:
        copy = _as_planar(frame)
    for patch in patches:
        _paste(copy, patch)
    return copy


def _paste(frame: av.VideoFrame, patch: Patch) -> None:
    left, top = max(patch.left, 0), max(patch.top, 0)
    right = min(patch.left + patch.image.shape[1], frame.width)
    bottom = min(patch.top + patch.image.shape[0], frame.height)
    if right <= left or bottom <= top:
        return
    inside = (slice(top - patch.top, bottom - patch.top), slice(left - patch.left, right - patch.left))
    image = patch.image[inside]
    mask = None if patch.mask is None else patch.mask[inside]

    # Chroma cells are 2x2 pixels, so the work is done on the rectangle of whole cells around the patch.
    first_column, first_row = left - left % 2, top - top % 2
    last_column, last_row = min(right + right % 2, frame.width), min(bottom + bottom % 2, frame.height)
    whole = (first_column, first_row, last_column, last_row) == (left, top, right, bottom)
    if whole and mask is None:
        block = np.ascontiguousarray(image)
    else:
        block = rgb_region(frame, first_column, first_row, last_column - first_column, last_row - first_row)
        target = block[top - first_row : bottom - first_row, left - first_column : right - first_column]
        if mask is None:
            np.copyto(target, image)
        else:
            cv2.copyTo(np.ascontiguousarray(image), np.ascontiguousarray(mask).view(np.uint8), target)

    new_luma, new_blue, new_red = rgb_to_yuv(np.ascontiguousarray(block), *_read_as(frame))
    luma, blue, red = planes_of(frame)
    here = new_luma[top - first_row : bottom - first_row, left - first_column : right - first_column]
    np.copyto(luma[top:bottom, left:right], here, where=True if mask is None else mask)
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
