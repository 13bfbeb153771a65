"""Preview of a run: a few seconds of the output at a reduced size.

A preview runs the same steps as the run and uses the same cache. Only the rendering is limited to the preview's frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.errors import OutputError
from retalkit.media.sound_encoding import SoundTrack
from retalkit.media.timeline import OutputTimeline
from retalkit.media.track_source import TrackSource
from retalkit.media.yuv_frames import new_frame, planes_of

_LONGEST: Final = 640
_SHORTEST: Final = 0.2
_LIMIT: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Part of the output that is rendered as a preview."""

    seconds: float = 3.0
    """Duration in seconds, from 0.2 to 60."""
    at: float | None = None
    """Time in seconds of the output at the centre of the preview, or None for the start of the output."""
    longest: int = _LONGEST
    """Maximum length in pixels of the longer side. A smaller video is not enlarged."""

    def __post_init__(self) -> None:
        if not _SHORTEST <= self.seconds <= _LIMIT:
            raise OutputError(
                f"preview: expected a duration of {_SHORTEST:g} to {_LIMIT:g} s, got {self.seconds:g} s",
                code="invalid-preview",
            )
        if self.at is not None and not self.at >= 0:
            raise OutputError(f"preview: expected a time of 0 s or more, got {self.at:g} s", code="invalid-preview")


@dataclass(frozen=True, slots=True)
class OutputWindow:
    """Consecutive frames of the output that are rendered, and the size in which they are encoded."""

    timeline: OutputTimeline
    """Timeline of the whole output, to which all positions refer."""
    start: int
    """Position of the first frame."""
    stop: int
    """Position after the last frame."""
    size: tuple[int, int]
    """Width and height of the encoded frames in pixels."""

    @property
    def count(self) -> int:
        """Number of frames."""
        return self.stop - self.start

    @property
    def origin(self) -> float:
        """Start of the window in seconds in the whole output, which is its first frame or the start of the output.

        The picture of an output can start later than its sound.
        """
        if self.start == 0:
            return 0.0
        return float(self.timeline.times(self.start, self.start + 1)[0])

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        last = self.stop - 1
        end = self.timeline.times(last, self.stop)[0] + self.timeline.durations(last, self.stop)[0]
        return float(end) - self.origin

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the times in seconds of the frames [start, stop) relative to the start of the window."""
        return self.timeline.times(start, stop) - self.origin

    def scaled(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame in the window's size. A frame that already has this size is returned unchanged."""
        if (frame.width, frame.height) == self.size:
            return frame
        small = new_frame(*self.size, frame, frame.format.name)
        for target, plane in zip(planes_of(small), planes_of(frame), strict=True):
            reduced: Any = cv2.resize(plane, target.shape[::-1], interpolation=cv2.INTER_AREA)
            np.copyto(target, reduced)
        return small

    def part_of(self, track: SoundTrack | None) -> SoundTrack | None:
        """Return the part of the whole output's sound that belongs to the window."""
        if track is None or self.count == self.timeline.count:
            return track
        return SoundTrack(_SoundPart(track.source, self.origin, self.duration), self.duration, track.codec)


def whole_output(timeline: OutputTimeline, size: tuple[int, int]) -> OutputWindow:
    """Return the window that contains all frames in their full size."""
    return OutputWindow(timeline, 0, timeline.count, size)


def preview_window(preview: Preview, timeline: OutputTimeline, size: tuple[int, int]) -> OutputWindow:
    """Return the frames of a preview. ``size``: width and height of the video in pixels.

    A preview near the start or the end of the output is moved into the output. Raises OutputError if the preview is
    after the end of the output.
    """
    if preview.at is not None and preview.at > timeline.duration:
        raise OutputError(
            f"--at {preview.at:g}: the output ends at {timeline.duration:.2f} s; choose an earlier time",
            code="invalid-preview",
        )
    first = 0.0 if preview.at is None else preview.at - preview.seconds / 2
    first = max(min(first, timeline.duration - preview.seconds), 0.0)
    times = timeline.times(0, timeline.count)
    # Half a millisecond absorbs rounding errors of the times.
    start, stop = np.searchsorted(times, [first - 5e-4, first + preview.seconds - 5e-4]).tolist()
    start = min(start, timeline.count - 1)
    scale = min(preview.longest / max(size), 1.0)
    reduced = size if scale == 1 else (_even(size[0] * scale), _even(size[1] * scale))
    return OutputWindow(timeline, start, max(stop, start + 1), reduced)


def _even(length: float) -> int:
    return max(2 * round(length / 2), 2)


class _SoundPart:
    """Part of a sound that starts at ``start`` seconds."""

    def __init__(self, source: TrackSource, start: float, duration: float) -> None:
        self._source = source
        self._start = start
        self._duration = duration
        self.rate = source.rate
        self.layout = source.layout

    def length_at(self, rate: int) -> int:
        return max(min(round(self._duration * rate), self._source.length_at(rate) - round(self._start * rate)), 0)

    def native_chunks(self, rate: int) -> Iterator[NDArray[np.float32]]:
        skipped, remaining = round(self._start * rate), self.length_at(rate)
        for block in self._source.native_chunks(rate):
            part = block[skipped : skipped + remaining]
            skipped = max(skipped - len(block), 0)
            remaining -= len(part)
            if len(part):
                yield part
            if remaining <= 0:
                return
