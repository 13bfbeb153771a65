"""Decoder for animated PNG, WebP, AVIF and HEIF files, which FFmpeg does not decode completely."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retalkit.media.colour import BT709
from retalkit.media.frame_index import FrameIndex, rate_warnings
from retalkit.media.image_files import PILLOW_ERRORS, open_image, unreadable_image, upright_rgb
from retalkit.media.pixel_format import YUV420P, PixelFormat
from retalkit.media.yuv_frames import Orientation, frame_from_rgb, frame_from_rgb16

_TIME_BASE: Final = Fraction(1, 1000)
_SHORTEST: Final = 11
"""Durations in ms below this value are shown for 100 ms, as in web browsers."""
_REPLACED: Final = 100


def scan_animation(path: Path) -> FrameIndex:
    """Build the index of an animation. All frames are decoded once to read their durations.

    Raises InputError if a frame cannot be decoded.
    """
    durations: list[int] = []
    warnings: list[str] = []
    width = height = 0
    with open_image(path) as image:
        for number in range(_hidden(image), int(getattr(image, "n_frames", 1))):
            frame, notes = _decode(path, image, number)
            warnings += [note for note in notes if note not in warnings]
            height, width = frame.shape[:2]
            shown = float(image.info.get("duration", 0) or 0)
            durations.append(_REPLACED if shown < _SHORTEST else round(shown))
    rate = Fraction(len(durations)) / (sum(durations) * _TIME_BASE)
    warnings += rate_warnings(path, np.array(durations[:-1]) * float(_TIME_BASE))
    ends = np.cumsum(np.array(durations, dtype=np.int64))
    return FrameIndex(
        timestamps=ends - durations,
        ticks=ends - durations,
        keyframes=np.zeros(1, dtype=np.int64),
        time_base=_TIME_BASE,
        end=int(ends[-1]),
        origin=Fraction(0),
        counted=True,
        width=width,
        height=height,
        colour=BT709,
        orientation=Orientation(),
        rate=rate.limit_denominator(100000),
        sample_aspect=Fraction(1),
        warnings=tuple(warnings),
    )


class AnimationDecoder:
    """Decoder with the interface of ``FrameDecoder``."""

    def __init__(self, path: Path, index: FrameIndex) -> None:
        self._path, self._count = path, len(index.timestamps)
        self._image = open_image(path)
        self._hidden = _hidden(self._image)
        self._held: tuple[int, PixelFormat, av.VideoFrame] | None = None

    def close(self) -> None:
        self._held = None
        self._image.close()

    def frame(self, position: int, pixel_format: PixelFormat = YUV420P) -> av.VideoFrame:
        """Return an upright frame, which callers must not modify.

        Raises:
            IndexError: the position is outside the animation.
            InputError: the frame cannot be decoded.
        """
        if not 0 <= position < self._count:
            raise IndexError(f"frame {position} is out of range for an animation with {self._count} frames")
        if self._held is None or self._held[:2] != (position, pixel_format):
            if position + self._hidden < self._image.tell():
                # Pillow cannot rewind every format.
                self._image.close()
                self._image = open_image(self._path)
            image, _ = _decode(self._path, self._image, position + self._hidden)
            if pixel_format == YUV420P:
                frame = frame_from_rgb(image)
            else:
                frame = frame_from_rgb16(image.astype(np.uint16) * np.uint16(257), pixel_format)
            self._held = (position, pixel_format, frame)
        return self._held[2]


def _hidden(image: Image.Image) -> int:
    """Return the number of images before the animation. An animated PNG file can start with an image for programs that
    do not support animations."""
    return int(bool(getattr(image, "default_image", False)))


def _decode(path: Path, image: Image.Image, position: int) -> tuple[NDArray[np.uint8], list[str]]:
    try:
        image.seek(position)
        image.load()
    except PILLOW_ERRORS as error:
        raise unreadable_image(path) from error
    return upright_rgb(path, image)
