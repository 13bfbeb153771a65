"""The source video or photo: frames with their times, in any order, without holding the video."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from retalkit.media.colour import Colour
from retalkit.media.containers import is_photo_file
from retalkit.media.decoding import FrameDecoder
from retalkit.media.frame_editing import to_rgb
from retalkit.media.frame_index import FrameIndex, scan_video
from retalkit.media.photo_source import PhotoSource, photo_from_container
from retalkit.stages import SourceInfo

_CHUNK_BYTES = 64 * 2**20
"""Decoded frames kept while a descending run is turned round."""
_NEAR = 8
"""Steps back of up to this many frames are a descending run; longer ones are jumps."""


class VideoSource:
    """A scanned video; implements ``retalkit.stages.Source``. Cheap to copy between processes: it holds the path and
    the index (eight bytes a frame) and opens the file when it is read."""

    def __init__(self, path: Path, index: FrameIndex) -> None:
        self.path = path
        self.index = index
        self.warnings: list[str] = list(index.warnings)
        """One sentence for each fault of the file that was worked around; may grow while frames are read."""
        self._gaps: set[int] = set()
        self._idle: FrameDecoder | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "index": self.index, "warnings": self.warnings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], state["index"])
        self.warnings = list(state["warnings"])

    @property
    def info(self) -> SourceInfo:
        width, height = self.size
        first = int(self.index.timestamps[0])
        return SourceInfo(
            width=width,
            height=height,
            frame_count=len(self.index.timestamps),
            duration=float((self.index.end - first) * self.index.time_base),
        )

    @property
    def size(self) -> tuple[int, int]:
        """Upright width and height in pixels."""
        return self.index.orientation.size(self.index.width, self.index.height)

    @property
    def colour(self) -> Colour:
        return self.index.colour

    @property
    def time_base(self) -> Fraction:
        """Seconds to which all times are whole multiples."""
        return self.index.time_base

    @property
    def rate(self) -> Fraction:
        """Mean frames a second."""
        return self.index.rate

    @property
    def sample_aspect(self) -> Fraction:
        """Width of an upright pixel by its height."""
        return 1 / self.index.sample_aspect if self.index.orientation.transpose else self.index.sample_aspect

    @property
    def start_time(self) -> float:
        """Seconds of the container's clock at which the first frame is shown; ``times`` count from there."""
        return float(int(self.index.timestamps[0]) * self.index.time_base)

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        """float64 [stop-start] presentation times in seconds; the first frame's is 0."""
        ticks = self.index.timestamps[start:stop] - self.index.timestamps[0]
        return ticks * float(self.index.time_base.numerator) / float(self.index.time_base.denominator)

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yields (index, RGB uint8 [H, W, 3]) in the order asked, upright, by the video's own matrix and range."""
        last: tuple[int, NDArray[np.uint8]] | None = None
        for index, frame in self.read_video_frames(indexes):
            if last is not None and last[0] == index:
                yield index, last[1].copy()
                continue
            last = (index, to_rgb(frame))
            yield last

    def read_video_frames(self, indexes: Iterable[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yields (index, upright ``yuv420p`` frame) in the order asked. Frames are shared: do not write to them.

        Ascending runs are decoded straight through. Descending runs are turned round in chunks of at most 64 MiB of
        decoded frames; each chunk is decoded from the keyframe before it, so one long descending request is much
        cheaper than many short ones. ``indexes`` is read ahead by at most one chunk.

        Raises:
            IndexError: no such frame.
            InputError: the file can no longer be decoded.
        """
        decoder = self._take()
        try:
            yield from _in_order(decoder, indexes, self._chunk)
        finally:
            self._give(decoder)

    @property
    def _chunk(self) -> int:
        return max(2, _CHUNK_BYTES // max(self.index.width * self.index.height * 3 // 2, 1))

    def close(self) -> None:
        """Closes the file; the source can be read again."""
        with self._lock:
            decoder, self._idle = self._idle, None
        if decoder is not None:
            decoder.close()

    def _take(self) -> FrameDecoder:
        """The decoder that the last reader left where it stood, so that reading on costs no seek, or a new one."""
        with self._lock:
            decoder, self._idle = self._idle, None
        return decoder or FrameDecoder(self.path, self.index, self._note_gap)

    def _give(self, decoder: FrameDecoder) -> None:
        with self._lock:
            if self._idle is None:
                self._idle = decoder
                return
        decoder.close()

    def _note_gap(self, position: int) -> None:
        if not self._gaps:
            self.warnings.append(
                f"{self.path.name}: some frames do not decode (the first is number {position}); "
                "the frame before is shown instead"
            )
        self._gaps.add(position)


def _in_order(decoder: FrameDecoder, indexes: Iterable[int], chunk: int) -> Iterator[tuple[int, av.VideoFrame]]:
    upcoming = iter(indexes)
    current = next(upcoming, None)
    while current is not None:
        following = next(upcoming, None)
        run = [current]
        while following is not None and 0 < run[-1] - following <= _NEAR and len(run) < chunk:
            run.append(following)
            following = next(upcoming, None)
        kept = {position: decoder.frame(position) for position in reversed(run)}
        for position in run:
            yield position, kept.pop(position)
        current = following


MediaSource = VideoSource | PhotoSource


def open_source(path: Path) -> MediaSource:
    """Opens a video or a still photo and finds all its frames.

    Raises:
        InputError: missing, a folder, empty, not media, sound only, or no frame decodes.
    """
    path = Path(path)
    if is_photo_file(path):
        return PhotoSource(path)
    index = scan_video(path)
    if len(index.timestamps) == 1:
        photo = photo_from_container(path)
        if photo is not None:
            return photo
    return VideoSource(path, index)
