"""Faces of decoded frames that are kept between two passes over a video, so that the second pass need not decode it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from retalkit.media.decoded_frames import DecodedFrames
from retalkit.media.frame_editing import frame_part, rgb_region
from retalkit.media.pixel_format import YUV420P
from retalkit.media.sources import VideoSource
from retalkit.stages import FrameBatch

Image = NDArray[np.uint8]

KEPT_FACE_BYTES: Final = 128 << 20
"""Maximum size of all kept faces of a video."""
_MARGIN: Final = 0.12
"""Margin around the landmarks relative to the larger side of their bounding box."""


class KeptFaces:
    """Parts of the frames of one video that contain all faces. Nothing is kept of a video that exceeds the limit.
    Several threads may add parts."""

    def __init__(self, source: VideoSource, limit: int = KEPT_FACE_BYTES) -> None:
        """Initialise the parts. ``limit``: maximum size in bytes. A limit of 0 keeps nothing."""
        self._source = source
        # A source that keeps its frames decodes them once in any case.
        self._limit = 0 if source.keeps_frames() else limit
        self._bytes = 0
        self._lock = threading.Lock()
        self._parts: dict[int, tuple[int, int, av.VideoFrame]] = {}

    def add(self, index: int, frame: av.VideoFrame, faces: Sequence[NDArray[np.float32]]) -> None:
        """Keep the part of a frame around the landmarks of its faces, float32 [N, 3] each in pixels."""
        usable = [points[:, :2] for points in faces if np.isfinite(points).all()]
        if not self._limit or not usable or frame.format.name != YUV420P.name:
            return
        left, top, right, bottom = _around(np.concatenate(usable), frame.width, frame.height)
        if right - left < 2 or bottom - top < 2:
            return
        part = frame_part(frame, left, top, right - left, bottom - top)
        with self._lock:
            self._bytes += part.width * part.height * 3 // 2
            if self._bytes > self._limit:
                self._limit = 0
                self._parts.clear()
            else:
                self._parts[index] = (left, top, part)

    def clear(self) -> None:
        """Release all parts, and keep nothing from now on."""
        with self._lock:
            self._limit = 0
            self._parts.clear()

    def read(self, indexes: Sequence[int]) -> Iterator[FrameBatch] | None:
        """Return an iterator over batches of one frame each, or None if a frame is not kept."""
        if not self._parts or any(index not in self._parts for index in indexes):
            return None
        return (_KeptFace(self._source, index, *self._parts[index]) for index in indexes)


class _KeptFace(FrameBatch):
    """Frame of which only a part is kept. The frame is decoded if a stage reads another part."""

    __slots__ = ("_corner", "_part", "_source", "_whole")

    def __init__(self, source: VideoSource, index: int, left: int, top: int, part: av.VideoFrame) -> None:
        values: dict[str, Any] = {
            "times": source.times(index, index + 1),
            "indexes": np.array([index], np.int64),
            "shot_starts": None,
            "_source": source,
            "_corner": (left, top),
            "_part": part,
            "_whole": [],
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    _source: VideoSource
    _corner: tuple[int, int]
    _part: av.VideoFrame
    _whole: list[DecodedFrames]

    def _decoded(self) -> DecodedFrames:
        if not self._whole:
            frames = [frame for _, frame in self._source.read_video_frames([int(self.indexes[0])])]
            self._whole.append(DecodedFrames(frames, self.times, self.indexes))
        return self._whole[0]

    @property
    def images(self) -> Image:  # pyright: ignore[reportIncompatibleVariableOverride]  # read-only in both classes
        """RGB image of the whole frame, uint8 [1, H, W, 3]."""
        return self._decoded().images

    @property
    def size(self) -> tuple[int, int]:
        return self._source.size

    def crop(self, row: int, left: int, top: int, width: int, height: int) -> Image:
        x, y = left - self._corner[0], top - self._corner[1]
        if x < 0 or y < 0 or x + width > self._part.width or y + height > self._part.height:
            return self._decoded().crop(row, left, top, width, height)
        return rgb_region(self._part, x, y, width, height)

    def reduced(self, row: int, factor: int) -> Image:
        return self._decoded().reduced(row, factor)

    def sampled(self, row: int, step: int) -> Image:
        return self._decoded().sampled(row, step)


def _around(points: NDArray[np.float32], width: int, height: int) -> tuple[int, int, int, int]:
    """Return the bounding box (left, top, right, bottom) of the points with a margin and even sides, in the frame."""
    low, high = points.min(0), points.max(0)
    margin = _MARGIN * float((high - low).max())
    left, top = (max(int(value - margin), 0) // 2 * 2 for value in low)
    right, bottom = (
        min(int(value + margin) // 2 * 2 + 2, size) for value, size in zip(high, (width, height), strict=True)
    )
    return left, top, right, bottom
