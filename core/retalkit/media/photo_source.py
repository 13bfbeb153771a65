"""Video source that consists of one still image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from retalkit.media.colour import BT709, Colour
from retalkit.media.containers import is_image_container, open_media, video_stream
from retalkit.media.frame_index import decode_frames
from retalkit.media.hdr import HdrMetadata
from retalkit.media.image_files import read_photo
from retalkit.media.pixel_format import YUV420P, PixelFormat
from retalkit.media.yuv_frames import frame_from_rgb, frame_from_rgb16, orientation_of
from retalkit.stages import SourceInfo

PHOTO_RATE = 25
"""Frame rate in frames per second of a video generated from a still image."""


class PhotoSource:
    """Source with one upright frame, rotated according to the EXIF orientation. Implements ``retalkit.stages.Source``.

    The image is converted to BT.709 limited range. Transparent pixels become black.
    """

    def __init__(self, path: Path, image: NDArray[np.uint8] | None = None) -> None:
        """Read the still image.

        ``image``: decoded image, RGB uint8 [H, W, 3]. By default, the image is decoded from the file.

        Raises:
            InputError: the image cannot be read.
        """
        self.path = path
        self.warnings: list[str] = []
        if image is None:
            image, self.warnings = read_photo(path)
        self._image = image
        self._frame: tuple[PixelFormat, av.VideoFrame] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "image": self._image}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], state["image"])

    @property
    def info(self) -> SourceInfo:
        width, height = self.size
        return SourceInfo(width=width, height=height, frame_count=1, duration=1 / PHOTO_RATE, is_photo=True)

    @property
    def size(self) -> tuple[int, int]:
        """Upright width and height in pixels."""
        return self._image.shape[1], self._image.shape[0]

    @property
    def colour(self) -> Colour:
        return BT709

    @property
    def pixel_format(self) -> PixelFormat:
        return YUV420P

    @property
    def hdr(self) -> HdrMetadata:
        return HdrMetadata()

    @property
    def photo_fps(self) -> int:
        return PHOTO_RATE

    @property
    def rate(self) -> Fraction:
        """Output frame rate in frames per second."""
        return Fraction(PHOTO_RATE)

    @property
    def time_base(self) -> Fraction:
        return Fraction(1, PHOTO_RATE)

    @property
    def sample_aspect(self) -> Fraction:
        return Fraction(1)

    @property
    def start_time(self) -> float:
        return 0.0

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the presentation times of frames [start, stop) in seconds, float64.

        The only frame has the time 0.0.
        """
        return np.zeros(1, dtype=np.float64)[start:stop]

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield the frame index 0 and a new copy of the image, RGB uint8 [H, W, 3], for each requested index."""
        for index in indexes:
            _check(index)
            yield index, self._image.copy()

    def read_video_frames(
        self, indexes: Iterable[int], pixel_format: PixelFormat = YUV420P
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield (0, frame) for each requested index.

        All items share one frame, which callers must not modify.
        """
        for index in indexes:
            _check(index)
            if self._frame is None or self._frame[0] != pixel_format:
                self._frame = (pixel_format, self._converted(pixel_format))
            yield index, self._frame[1]

    def _converted(self, pixel_format: PixelFormat) -> av.VideoFrame:
        if pixel_format == YUV420P:
            return frame_from_rgb(self._image)
        return frame_from_rgb16(self._image.astype(np.uint16) * np.uint16(257), pixel_format)

    def close(self) -> None:
        self._frame = None


def _check(index: int) -> None:
    if index != 0:
        raise IndexError(f"frame {index} is out of range for a still image, which has only frame 0")


def photo_from_container(path: Path) -> PhotoSource | None:
    """Read a still image in a format that only FFmpeg supports. Return None if the file is a one-frame video."""
    with open_media(path) as container:
        if not is_image_container(container):
            return None
        stream = video_stream(container, path)
        frame = next(decode_frames(container, stream), None)
        if frame is None:
            return None
        image = np.ascontiguousarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
        return PhotoSource(path, np.ascontiguousarray(orientation_of(frame).upright(image)))
