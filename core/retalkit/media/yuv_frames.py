"""Conversion of frames to upright planar Y'CbCr, 8-bit 4:2:0 by default, with plane access through NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from retalkit.media.colour import (
    MATRIX_BT709,
    RANGE_FULL,
    RANGE_LIMITED,
    Colour,
    is_yuv,
    rgb_to_yuv,
    rgb_to_yuv_planes,
)
from retalkit.media.pixel_format import FORMATS, YUV420P, PixelFormat, format_named
from retalkit.media.side_data import side_data

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
    data = side_data(frame, "DISPLAYMATRIX")
    if data is None:
        # PyAV reads the rotation, but no mirroring, also if it cannot list the side data.
        turns = round(frame.rotation / 90) % 4
        return Orientation(transpose=turns % 2 == 1, mirror_x=turns in (2, 3), mirror_y=turns in (1, 2))
    numbers = np.frombuffer(data, dtype=np.int32)
    if numbers.size < 9:
        return Orientation()
    a, b, c, d = (int(value) for value in (numbers[0], numbers[1], numbers[3], numbers[4]))
    if abs(a) >= abs(b):
        return Orientation(transpose=False, mirror_x=a < 0, mirror_y=d < 0)
    return Orientation(transpose=True, mirror_x=c < 0, mirror_y=b < 0)


def planes_of(frame: av.VideoFrame) -> list[NDArray[Any]]:
    """Return writable views [h, w] of a planar frame's planes, uint8 for 8 bits per sample, otherwise uint16. The views
    hold references to the frame."""
    dtype = np.dtype(np.uint8 if frame.format.components[0].bits == 8 else np.uint16)
    views: list[NDArray[Any]] = []
    for plane in frame.planes:
        samples: NDArray[Any] = np.frombuffer(plane, dtype=dtype)  # pyright: ignore[reportArgumentType, reportCallIssue]
        stride = plane.line_size // dtype.itemsize
        rows = samples[: plane.height * stride].reshape(plane.height, stride)
        views.append(rows[:, : plane.width])
    return views


def new_frame(
    width: int, height: int, like: av.VideoFrame | None = None, pixel_format: str = YUV420P.name
) -> av.VideoFrame:
    """Return an uninitialised frame with the colour tags of ``like``."""
    frame = av.VideoFrame(width, height, pixel_format)
    if like is not None:
        frame.colorspace, frame.color_range = like.colorspace, like.color_range
        frame.color_primaries, frame.color_trc = like.color_primaries, like.color_trc
    return frame


def copy_frame(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a copy of a planar frame. A ``yuvj420p`` frame is copied to ``yuv420p``.

    Decoded frames must not be modified because the decoder uses them as reference frames.
    """
    name = frame.format.name if frame.format.name in FORMATS else YUV420P.name
    copy = new_frame(frame.width, frame.height, frame, name)
    for target, source in zip(planes_of(copy), planes_of(frame), strict=True):
        np.copyto(target, source)
    return copy


def upright_frame(
    frame: av.VideoFrame, colour: Colour, orientation: Orientation, pixel_format: PixelFormat = YUV420P
) -> av.VideoFrame:
    """Convert a decoded frame to an upright frame of ``pixel_format`` without changing the colour matrix or range.

    A frame that is already upright and has this format is returned without a copy, so its samples are unchanged.
    """
    if pixel_format == YUV420P:
        return upright_yuv420p(frame, colour, orientation)
    if is_yuv(frame):
        # A transposition would exchange the horizontal and the vertical chroma subsampling.
        via = pixel_format
        if orientation.transpose and pixel_format.chroma_x != pixel_format.chroma_y:
            via = format_named("444", pixel_format.depth)
        upright = _rotated(reformatted(frame, via.name), orientation)
        upright = reformatted(upright, pixel_format.name)
    else:
        image = np.ascontiguousarray(frame.to_ndarray(format="rgb48le"), dtype=np.uint16)
        upright = _rotated(frame_from_rgb16(image, pixel_format), orientation)
    upright.colorspace = colour.working_matrix
    upright.color_range = RANGE_FULL if colour.range == RANGE_FULL else RANGE_LIMITED
    return upright


def reformatted(frame: av.VideoFrame, name: str) -> av.VideoFrame:
    """Return the frame converted by swscale to the FFmpeg pixel format ``name``, with the same matrix and range."""
    if frame.format.name == name:
        return frame
    full = frame.format.name.startswith("yuvj")
    converted = frame.reformat(format=name, interpolation=_SAMPLING, threads=1)
    if full:
        converted.color_range = RANGE_FULL
    return converted


def cropped_frame(
    frame: av.VideoFrame, rectangle: tuple[int, int, int, int], pixel_format: PixelFormat
) -> av.VideoFrame:
    """Return the part of a frame in a rectangle (left, top, width, height; all even) in ``pixel_format``."""
    left, top, width, height = rectangle
    if not is_yuv(frame):
        frame = frame_from_rgb(np.ascontiguousarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
    full = int(frame.color_range) == RANGE_FULL or frame.format.name.startswith("yuvj")
    converted = reformatted(frame, pixel_format.name)
    cropped = new_frame(width, height, frame, pixel_format.name)
    cropped.color_range = RANGE_FULL if full else frame.color_range
    for number, (target, source) in enumerate(zip(planes_of(cropped), planes_of(converted), strict=True)):
        across, down = (pixel_format.chroma_x, pixel_format.chroma_y) if number else (1, 1)
        rows, columns = target.shape
        target[:] = source[top // down : top // down + rows, left // across : left // across + columns]
    return cropped


def fitted_frame(frame: av.VideoFrame, width: int, height: int, pixel_format: PixelFormat) -> av.VideoFrame:
    """Return a frame of a different size, scaled to ``width`` x ``height`` in ``pixel_format`` with the same aspect
    ratio and black borders."""
    scale = min(width / frame.width, height / frame.height)
    columns, rows = pixel_format.chroma_x, pixel_format.chroma_y
    size = (
        max(int(frame.width * scale + 1e-6) // columns * columns, columns),
        max(int(frame.height * scale + 1e-6) // rows * rows, rows),
    )
    if not is_yuv(frame):
        frame = frame_from_rgb(np.ascontiguousarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
    full = int(frame.color_range) == RANGE_FULL or frame.format.name.startswith("yuvj")
    scaled = frame.reformat(width=size[0], height=size[1], format=pixel_format.name, interpolation=_SAMPLING, threads=1)
    fitted = new_frame(width, height, frame, pixel_format.name)
    fitted.color_range = RANGE_FULL if full else RANGE_LIMITED
    left = (width - size[0]) // 2 // columns * columns
    top = (height - size[1]) // 2 // rows * rows
    depth = 2 ** (pixel_format.depth - 8)
    for number, (target, source) in enumerate(zip(planes_of(fitted), planes_of(scaled), strict=True)):
        target[:] = ((0 if full else 16) if number == 0 else 128) * depth
        across, down = (columns, rows) if number else (1, 1)
        part = target[top // down :, left // across :]
        part[: source.shape[0], : source.shape[1]] = source[: part.shape[0], : part.shape[1]]
    return fitted


def _rotated(frame: av.VideoFrame, orientation: Orientation) -> av.VideoFrame:
    if not orientation.changes:
        return frame
    width, height = orientation.size(frame.width, frame.height)
    rotated = new_frame(width, height, frame, frame.format.name)
    for target, source in zip(planes_of(rotated), planes_of(frame), strict=True):
        np.copyto(target, orientation.upright(source))
    return rotated


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
    frame = _rotated(frame, orientation)
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


def frame_from_rgb16(image: NDArray[np.uint16], pixel_format: PixelFormat) -> av.VideoFrame:
    """Convert RGB uint16 [H, W, 3] with values up to 65535 to a frame with BT.709 limited range."""
    frame = new_frame(image.shape[1], image.shape[0], None, pixel_format.name)
    planes = rgb_to_yuv_planes(image.astype(np.float32) * np.float32(255 / 65535), pixel_format)
    for target, source in zip(planes_of(frame), planes, strict=True):
        np.copyto(target, source, casting="same_kind")
    frame.colorspace, frame.color_range = MATRIX_BT709, RANGE_LIMITED
    frame.color_primaries = frame.color_trc = MATRIX_BT709
    return frame


def _frame_of_rgb_format(frame: av.VideoFrame) -> av.VideoFrame:
    return frame_from_rgb(np.ascontiguousarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))


def pad_to_multiple(frame: av.VideoFrame, columns: int, rows: int) -> av.VideoFrame:
    """Repeat the last column and the last row until the width is a multiple of ``columns`` and the height is a multiple
    of ``rows``. Both are 1 or 2.

    Encoders of subsampled chroma require an even size in the subsampled directions.
    """
    width, height = frame.width + frame.width % columns, frame.height + frame.height % rows
    if (width, height) == (frame.width, frame.height):
        return frame
    padded = new_frame(width, height, frame, frame.format.name)
    for target, source in zip(planes_of(padded), planes_of(frame), strict=True):
        filled_rows, filled_columns = source.shape
        target[:filled_rows, :filled_columns] = source
        target[:filled_rows, filled_columns:] = source[:, -1:]
        target[filled_rows:] = target[filled_rows - 1 : filled_rows]
    return padded
