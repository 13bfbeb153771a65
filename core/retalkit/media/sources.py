"""Video sources with timestamps and random access to frames. Memory usage is bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from retalkit.media.animation import AnimationDecoder, scan_animation
from retalkit.media.colour import Colour
from retalkit.media.decoding import FrameDecoder
from retalkit.media.frame_editing import to_rgb
from retalkit.media.frame_index import FrameIndex, scan_video
from retalkit.media.frame_memory import SHORT_BYTES
from retalkit.media.hdr import HdrMetadata
from retalkit.media.image_files import file_kind
from retalkit.media.photo_source import PhotoSource, photo_from_container
from retalkit.media.pixel_format import YUV420P, PixelFormat
from retalkit.stages import SourceInfo

_CHUNK_BYTES = 64 * 2**20
"""Memory limit in bytes for decoded frames while a descending run is reversed."""
_MAX_BACKWARD_STEP = 8
"""Maximum backward step in frames within a descending run. A larger backward step is treated as a jump."""


class VideoSource:
    """Source backed by an indexed video. Implements ``retalkit.stages.Source``.

    Instances are inexpensive to pickle because the state consists of the path and the index (eight bytes per frame).
    The first read opens the file.
    """

    def __init__(self, path: Path, index: FrameIndex) -> None:
        self.path = path
        self.index = index
        self.warnings: list[str] = list(index.warnings)
        """Warnings about defects in the file, one sentence per defect. Reading frames may add warnings."""
        self._gaps: set[int] = set()
        self._resized = False
        self._idle: FrameDecoder | AnimationDecoder | None = None
        self._lock = threading.Lock()
        self._kept: dict[str, dict[int, av.VideoFrame]] = {}
        self._kept_bytes = 0

    @property
    def undecodable(self) -> list[int]:
        """Frames read so far that cannot be decoded, in ascending order. The preceding frame is read instead."""
        return sorted(self._gaps)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "index": self.index, "warnings": self.warnings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], state["index"])
        self.warnings = list(state["warnings"])

    @property
    def info(self) -> SourceInfo:
        width, height = self.size
        return SourceInfo(
            width=width,
            height=height,
            frame_count=len(self.index.timestamps),
            duration=float(self.index.end * self.index.time_base),
        )

    @property
    def size(self) -> tuple[int, int]:
        """Upright width and height in pixels."""
        return self.index.orientation.size(self.index.width, self.index.height)

    @property
    def colour(self) -> Colour:
        return self.index.colour

    @property
    def pixel_format(self) -> PixelFormat:
        """Smallest supported pixel format that represents all stored samples."""
        return self.index.pixel_format

    @property
    def hdr(self) -> HdrMetadata:
        return self.index.hdr

    @property
    def time_base(self) -> Fraction:
        """Time base in seconds. All times are integer multiples of the time base."""
        return self.index.time_base

    @property
    def rate(self) -> Fraction:
        """Mean frame rate in frames per second."""
        return self.index.rate

    @property
    def sample_aspect(self) -> Fraction:
        """Sample aspect ratio: width of an upright pixel divided by its height."""
        return 1 / self.index.sample_aspect if self.index.orientation.transpose else self.index.sample_aspect

    @property
    def start_time(self) -> float:
        """Time in seconds on the container's clock of the clip's time 0.

        ``times`` are relative to ``start_time``.
        """
        return float(self.index.origin)

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return presentation times in seconds, float64 [stop-start].

        The clip starts at time 0 with its earliest stream. The first frame is later if the sound starts first.
        """
        ticks = self.index.ticks[start:stop]
        return ticks * float(self.index.time_base.numerator) / float(self.index.time_base.denominator)

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield (index, RGB uint8 [H, W, 3]) in the requested order.

        The images are upright and are converted to RGB with the video's colour matrix and range.
        """
        last: tuple[int, NDArray[np.uint8]] | None = None
        for index, frame in self.read_video_frames(indexes):
            if last is not None and last[0] == index:
                yield index, last[1].copy()
                continue
            last = (index, to_rgb(frame))
            yield last

    def read_video_frames(
        self, indexes: Iterable[int], pixel_format: PixelFormat = YUV420P
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield (index, upright frame) in the requested order. Callers must not modify the shared frames.

        If ``keeps_frames`` is true, every frame is decoded only once and kept until ``close`` is called.

        A frame that is stored upright in ``pixel_format`` keeps its samples. Other frames are converted.

        Ascending runs are decoded sequentially. Descending runs are reversed in chunks of at most 64 MiB of decoded
        frames. Each chunk is decoded from the preceding keyframe, so one long descending request is much faster than
        many short requests. The iterator ``indexes`` is consumed at most one chunk ahead.

        Raises:
            IndexError: an index is outside the video.
            InputError: the file can no longer be decoded.
        """
        if not self.keeps_frames(pixel_format):
            yield from self._decode(indexes, pixel_format)
            return
        kept = self._kept.setdefault(pixel_format.name, {})
        upcoming = iter(indexes)
        pending = next(upcoming, None)

        def missing_run() -> Iterator[int]:
            nonlocal pending
            requested: set[int] = set()
            while pending is not None and pending not in kept and pending not in requested:
                requested.add(pending)
                yield pending
                pending = next(upcoming, None)

        while pending is not None:
            if pending in kept:
                yield pending, kept[pending]
                pending = next(upcoming, None)
                continue
            for index, frame in self._decode(missing_run(), pixel_format):
                kept[index] = frame
                yield index, frame

    def keep_frames(self, limit: int) -> None:
        """Keep all decoded frames from now on if they fit into ``limit`` bytes. Short videos are always kept."""
        self._kept_bytes = limit

    def keeps_frames(self, pixel_format: PixelFormat = YUV420P) -> bool:
        """Return whether every frame is decoded only once because all frames fit into the memory for them."""
        return self._decoded_bytes(pixel_format) <= max(self._kept_bytes, SHORT_BYTES)

    @property
    def is_short(self) -> bool:
        """Whether the video is decoded in a fraction of a second: all 8-bit frames fit into ``SHORT_BYTES``."""
        return self._decoded_bytes(YUV420P) <= SHORT_BYTES

    def _decoded_bytes(self, pixel_format: PixelFormat) -> int:
        width, height = self.size
        samples = width * height + 2 * (width // pixel_format.chroma_x) * (height // pixel_format.chroma_y)
        return len(self.index.timestamps) * samples * np.dtype(pixel_format.dtype).itemsize

    def _decode(self, indexes: Iterable[int], pixel_format: PixelFormat) -> Iterator[tuple[int, av.VideoFrame]]:
        decoder = self._acquire()
        try:
            yield from _read_in_order(decoder, indexes, self._chunk, pixel_format)
        finally:
            self._release(decoder)

    @property
    def _chunk(self) -> int:
        return max(2, _CHUNK_BYTES // max(self.index.width * self.index.height * 3 // 2, 1))

    def close(self) -> None:
        """Close the file. The next read reopens the file."""
        with self._lock:
            decoder, self._idle = self._idle, None
            self._kept = {}
        if decoder is not None:
            decoder.close()

    def _acquire(self) -> FrameDecoder | AnimationDecoder:
        """Return the idle decoder at its current position to avoid a seek, or create a decoder if none is idle."""
        with self._lock:
            decoder, self._idle = self._idle, None
        return decoder or self._open_decoder()

    def _open_decoder(self) -> FrameDecoder | AnimationDecoder:
        return FrameDecoder(self.path, self.index, self._add_gap, self._add_resized)

    def _release(self, decoder: FrameDecoder | AnimationDecoder) -> None:
        with self._lock:
            if self._idle is None:
                self._idle = decoder
                return
        decoder.close()

    def _add_resized(self, position: int, width: int, height: int) -> None:
        if not self._resized:
            self._resized = True
            self.warnings.append(
                f"{self.path.name}: the size of the video changes (first: frame {position}, {width}x{height}); "
                f"all frames are scaled to {self.index.width}x{self.index.height}"
            )

    def _add_gap(self, position: int) -> None:
        if not self._gaps:
            self.warnings.append(
                f"{self.path.name}: some frames cannot be decoded (first: frame {position}); "
                "the preceding frame is repeated"
            )
        self._gaps.add(position)


def _read_in_order(
    decoder: FrameDecoder | AnimationDecoder, indexes: Iterable[int], chunk: int, pixel_format: PixelFormat
) -> Iterator[tuple[int, av.VideoFrame]]:
    upcoming = iter(indexes)
    current = next(upcoming, None)
    while current is not None:
        following = next(upcoming, None)
        run = [current]
        while following is not None and 0 < run[-1] - following <= _MAX_BACKWARD_STEP and len(run) < chunk:
            run.append(following)
            following = next(upcoming, None)
        kept = {position: decoder.frame(position, pixel_format) for position in reversed(run)}
        for position in run:
            yield position, kept.pop(position)
        current = following


class AnimationSource(VideoSource):
    """Source backed by an animated PNG, WebP, AVIF or HEIF file."""

    def _open_decoder(self) -> FrameDecoder | AnimationDecoder:
        return AnimationDecoder(self.path, self.index)


MediaSource = VideoSource | PhotoSource


def open_source(path: Path) -> MediaSource:
    """Open a video, an animation or a still image and index its frames.

    Raises:
        InputError: the path is missing, a directory or empty, the file is not a media file, the file has no video, or
            no frame can be decoded.
    """
    path = Path(path)
    kind = file_kind(path)
    if kind == "photo":
        return PhotoSource(path)
    if kind == "animation":
        return AnimationSource(path, scan_animation(path))
    index = scan_video(path)
    if len(index.timestamps) == 1:
        photo = photo_from_container(path)
        if photo is not None:
            return photo
    return VideoSource(path, index)
