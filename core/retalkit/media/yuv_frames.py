"""Conversion of frames to the common format (upright 8-bit 4:2:0), with plane access through NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from retalkit.media.colour import MATRIX_BT709, RANGE_FULL, RANGE_LIMITED, Colour, is_yuv, rgb_to_yuv

_SAMPLING = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


@dataclass(frozen=True, slots=True)
class Orientation:
    """Transform from stored pixels to upright pixels, consisting of a transposition followed by mirroring."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @property
    def changes(self) -> bool:
        return self.transpose or self.mirror_x or self.mirror_y

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the upright width and height of an image with the stored size ``width`` x ``height``."""
        return (height, width) if self.transpose else (width, height)

    def upright(self, image: NDArray[Any]) -> NDArray[Any]:
        """Rotate a plane [h, w] or an image [h, w, c]. If the orientation is the identity, the input array is
        returned."""
        rotated: Any = cv2.transpose(image) if self.transpose else image
        if self.mirror_x or self.mirror_y:
            rotated = cv2.flip(rotated, -1 if self.mirror_x and self.mirror_y else 1 if self.mirror_x else 0)
        return np.asarray(rotated)


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """Return the orientation from the display matrix (ISO 14496-12, ``tkhd``), rounded to multiples of 90 degrees."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation()
    numbers = np.frombuffer(bytes(data), dtype=np.int32)
    if numbers.size < 9:
        return Orientation()
    a, b, c, d = (int(value) for value in (numbers[0], numbers[1], numbers[3], numbers[4]))
    if abs(a) >= abs(b):
        return Orientation(transpose=False, mirror_x=a < 0, mirror_y=d < 0)
    return Orientation(transpose=True, mirror_x=c < 0, mirror_y=b < 0)


def planes_of(frame: av.VideoFrame) -> list[NDArray[np.uint8]]:
    """Return writable views uint8 [h, w] of an 8-bit planar frame's planes. The views hold references to the frame."""
    views: list[NDArray[np.uint8]] = []
    for plane in frame.planes:
        samples: NDArray[np.uint8] = np.frombuffer(plane, dtype=np.uint8)  # pyright: ignore[reportArgumentType, reportCallIssue]
        rows = samples[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
        views.append(rows[:, : plane.width])
    return views


def new_frame(width: int, height: int, like: av.VideoFrame | None = None) -> av.VideoFrame:
    """Return an uninitialised ``yuv420p`` frame with the colour tags of ``like``."""
    frame = av.VideoFrame(width, height, "yuv420p")
    if like is not None:
        frame.colorspace, frame.color_range = like.colorspace, like.color_range
        frame.color_primaries, frame.color_trc = like.color_primaries, like.color_trc
    return frame


def copy_frame(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a ``yuv420p`` copy.

    Decoded frames must not be modified because the decoder uses them as reference frames.
    """
    copy = new_frame(frame.width, frame.height, frame)
    for target, source in zip(planes_of(copy), planes_of(frame), strict=True):
        np.copyto(target, source)
    return copy


def upright_yuv420p(frame: av.VideoFrame, colour: Colour, orientation: Orientation) -> av.VideoFrame:
    """Convert a decoded frame to upright ``yuv420p`` without changing the colour matrix or range.

    A frame that is already upright ``yuv420p`` is returned without a copy. swscale converts formats with more bits or
    with less chroma subsampling. Interlaced video is processed as progressive video.
    """
    name = frame.format.name
    if name not in ("yuv420p", "yuvj420p"):
        if is_yuv(frame):
            frame = frame.reformat(format="yuv420p", interpolation=_SAMPLING, threads=1)
        else:
            frame = _frame_of_rgb_format(frame)
    elif name == "yuvj420p" and not orientation.changes:
        frame = as_full_range_yuv420p(frame)
    if orientation.changes:
        width, height = orientation.size(frame.width, frame.height)
        rotated = new_frame(width, height, frame)
        for target, source in zip(planes_of(rotated), planes_of(frame), strict=True):
            np.copyto(target, orientation.upright(source))
        frame = rotated
    frame.colorspace = colour.working_matrix
    frame.color_range = RANGE_FULL if colour.range == RANGE_FULL else RANGE_LIMITED
    return frame


def as_full_range_yuv420p(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a ``yuvj420p`` frame as ``yuv420p`` without changing the samples.

    The formats differ only in the range tag.
    """
    copy = copy_frame(frame)
    copy.color_range = RANGE_FULL
    return copy


def frame_from_rgb(image: NDArray[np.uint8]) -> av.VideoFrame:
    """Convert RGB uint8 [H, W, 3] to a ``yuv420p`` frame with BT.709 limited range."""
    frame = new_frame(image.shape[1], image.shape[0])
    for target, source in zip(planes_of(frame), rgb_to_yuv(image, MATRIX_BT709, False), strict=True):
        np.copyto(target, source)
    frame.colorspace, frame.color_range = MATRIX_BT709, RANGE_LIMITED
    frame.color_primaries = frame.color_trc = MATRIX_BT709
    return frame


def _frame_of_rgb_format(frame: av.VideoFrame) -> av.VideoFrame:
    return frame_from_rgb(np.ascontiguousarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))


def pad_to_even_size(frame: av.VideoFrame) -> av.VideoFrame:
    """Repeat the last column of an odd-width frame and the last row of an odd-height frame.

    4:2:0 H.264 requires an even width and an even height.
    """
    width, height = frame.width + frame.width % 2, frame.height + frame.height % 2
    if (width, height) == (frame.width, frame.height):
        return frame
    padded = new_frame(width, height, frame)
    for target, source in zip(planes_of(padded), planes_of(frame), strict=True):
        rows, columns = source.shape
        target[:rows, :columns] = source
        target[:rows, columns:] = source[:, -1:]
        target[rows:] = target[rows - 1 : rows]
    return padded
