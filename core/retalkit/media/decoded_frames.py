"""Decoded frames of a run, which are converted to RGB on demand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import av
import numpy as np
from numpy.typing import NDArray

from retalkit.media.frame_editing import reduced_rgb, rgb_region, sampled_rgb, to_rgb
from retalkit.media.pixel_format import YUV420P
from retalkit.media.sources import VideoSource
from retalkit.stages import FrameBatch, Source

Image = NDArray[np.uint8]


class DecodedFrames(FrameBatch):
    """Batch of decoded frames. Most stages read only the face, so that whole frames are converted only if a stage
    reads ``images``.
    """

    # The base class stores images, so that this class replaces the attribute.
    __slots__ = ("_converted", "_crops", "decoded")

    decoded: Sequence[av.VideoFrame]
    """Decoded frames. They must not be modified."""
    _converted: list[Image]
    _crops: dict[int, tuple[int, int, Image]]
    """Left, top and image of the largest crop of each row. Several stages read parts of the same face."""

    def __init__(
        self,
        decoded: Sequence[av.VideoFrame],
        times: NDArray[np.float64],
        indexes: NDArray[np.int64],
        shot_starts: NDArray[np.bool_] | None = None,
    ) -> None:
        """Initialise the batch. ``times``, ``indexes`` and ``shot_starts``: see ``FrameBatch``."""
        values: dict[str, object] = {"decoded": decoded, "times": times, "indexes": indexes, "shot_starts": shot_starts}
        values |= {"_converted": [], "_crops": {}}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def images(self) -> Image:  # pyright: ignore[reportIncompatibleVariableOverride]  # read-only in both classes
        """RGB images, uint8 [T, H, W, 3], which are converted on first use."""
        if not self._converted:
            self._converted.append(np.stack([to_rgb(frame) for frame in self.decoded]))
        return self._converted[0]

    @property
    def size(self) -> tuple[int, int]:
        return self.decoded[0].width, self.decoded[0].height

    def crop(self, row: int, left: int, top: int, width: int, height: int) -> Image:
        # Frames in other formats must be reformatted as a whole.
        if self._converted or self.decoded[row].format.name != YUV420P.name:
            return self.images[row, top : top + height, left : left + width]
        if (known := self._crops.get(row)) is not None:
            x, y, image = left - known[0], top - known[1], known[2]
            if x >= 0 and y >= 0 and x + width <= image.shape[1] and y + height <= image.shape[0]:
                return image[y : y + height, x : x + width]
        image = rgb_region(self.decoded[row], left, top, width, height)
        if known is None or image.size > known[2].size:
            self._crops[row] = (left, top, image)
        return image

    def reduced(self, row: int, factor: int) -> Image:
        return reduced_rgb(self.decoded[row], factor)

    def sampled(self, row: int, step: int) -> Image:
        return sampled_rgb(self.decoded[row], step)


@runtime_checkable
class FrameReader(Protocol):
    """Source that wraps another source."""

    def read_frames(self, indexes: Iterable[int]) -> Iterator[FrameBatch]: ...


def read_frames(source: Source, indexes: Iterable[int]) -> Iterator[FrameBatch]:
    """Yield a batch of one frame for each index, like ``Source.read``.

    The frames of a video are converted to RGB only where they are read.
    """
    if isinstance(source, FrameReader):
        yield from source.read_frames(indexes)
    elif isinstance(source, VideoSource):
        for index, frame in source.read_video_frames(indexes):
            yield DecodedFrames([frame], source.times(index, index + 1), np.array([index], np.int64))
    else:
        for index, image in source.read(indexes):
            yield FrameBatch(image[None], source.times(index, index + 1), np.array([index], np.int64))
