"""Mapping from output frames to source frames and times. Videos that are shorter than the speech are extended."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retalkit.errors import InputError
from retalkit.media.photo_source import PHOTO_RATE
from retalkit.media.sources import MediaSource

Length = Literal["speech", "video"]
Extend = Literal["pingpong", "loop", "freeze", "cut"]

_SHORTEST = 0.0005
"""Minimum duration of the last frame in seconds. A shorter last frame is dropped, and the previous frame is
extended.
"""
_SILENT_EXTENSION = 2.0
"""Maximum extension in frames that is not reported in ``OutputTimeline.note``."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pattern:
    """Sequence of frames followed by a repeating cycle. Times are in seconds, float64 [n]."""

    once_times: NDArray[np.float64]
    once_sources: NDArray[np.int64]
    once_end: float
    cycle_times: NDArray[np.float64]
    cycle_sources: NDArray[np.int64]
    period: float

    def times(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        later = positions - len(self.once_times)
        if not len(self.cycle_times):
            return self.once_times[positions]
        rounds, phase = np.divmod(np.maximum(later, 0), len(self.cycle_times))
        cyclic = self.once_end + rounds * self.period + self.cycle_times[phase]
        if not len(self.once_times):
            return cyclic
        return np.where(later < 0, self.once_times[np.minimum(positions, len(self.once_times) - 1)], cyclic)

    def sources(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        later = positions - len(self.once_times)
        if not len(self.cycle_times):
            return self.once_sources[positions]
        cyclic = self.cycle_sources[np.maximum(later, 0) % len(self.cycle_times)]
        if not len(self.once_times):
            return cyclic
        return np.where(later < 0, self.once_sources[np.minimum(positions, len(self.once_sources) - 1)], cyclic)

    def count_before(self, end: float) -> int:
        """Return the number of frames that start before ``end`` seconds."""
        count = int(np.searchsorted(self.once_times, end, side="left"))
        if count < len(self.once_times) or not len(self.cycle_times) or end <= self.once_end:
            return count
        rounds = max(int((end - self.once_end) // self.period), 0)
        rest = end - self.once_end - rounds * self.period
        return count + rounds * len(self.cycle_times) + int(np.searchsorted(self.cycle_times, rest, side="left"))


class OutputTimeline:
    """Output timeline, which implements ``retalkit.stages.Timeline``.

    Memory usage depends only on the number of source frames.
    """

    def __init__(self, pattern: _Pattern, duration: float, time_base: Fraction, note: str, start: float = 0.0) -> None:
        """Initialise the timeline. ``duration``: time in seconds from the first frame to the end of the last frame.
        ``start``: time of the first frame in seconds, at which the pattern starts."""
        self._pattern = pattern
        self._duration = duration
        self.start = start
        """Time of the first frame in seconds. The sound of the output starts at time 0."""
        self._count = max(pattern.count_before(duration - _SHORTEST), 1)
        self.time_base = time_base
        """Source time base in seconds, see ``encoding.output_time_base``."""
        self.note = note
        """One-sentence note if the video was extended or the speech was truncated, or an empty string otherwise."""

    @property
    def count(self) -> int:
        return self._count

    @property
    def duration(self) -> float:
        """End time of the last frame in seconds.

        The last frame's duration is adjusted so that the frame ends exactly at this time.
        """
        return self.start + self._duration

    def until(self, time: float) -> OutputTimeline:
        """Return the timeline of the frames that start before ``time`` seconds, at least one frame."""
        duration = min(time - self.start + _SHORTEST, self._duration)
        return OutputTimeline(self._pattern, duration, self.time_base, "", self.start)

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the presentation times of output frames [start, stop), float64 [T].

        Times are in seconds from the start of the output's sound.
        """
        return self.start + self._pattern.times(self._positions(start, stop))

    def durations(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the durations of output frames [start, stop), float64 [T], in seconds. All durations are positive."""
        positions = self._positions(start, stop)
        if not len(positions):
            return np.zeros(0, dtype=np.float64)
        ends = np.full(len(positions), self._duration, dtype=np.float64)
        followed = positions + 1 < self._count
        ends[followed] = self._pattern.times(positions[followed] + 1)
        return ends - self._pattern.times(positions)

    def sources(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the source frame indexes of output frames [start, stop), int64 [T]."""
        return self._pattern.sources(self._positions(start, stop))

    def _positions(self, start: int, stop: int) -> NDArray[np.int64]:
        return np.arange(max(start, 0), max(min(stop, self._count), max(start, 0)), dtype=np.int64)


def build_timeline(
    source: MediaSource, speech_duration: float, length: Length = "speech", extend: Extend = "pingpong"
) -> OutputTimeline:
    """Build the output timeline. Output timestamps are source timestamps or accumulated frame intervals and may be
    irregularly spaced.

    The first output frame has the time of the video's first frame, which is later than 0 if the sound of the video
    starts earlier. With ``length="speech"``, the output ends with the last speech sample. With ``length="video"``, the
    output ends with the last video frame. If the video is too short, ``pingpong`` plays the video backward and forward
    with the original frame intervals, which keeps motion continuous. ``loop`` restarts the video, ``freeze`` repeats
    the last frame at the mean frame rate, and ``cut`` ends the output with the video. A still image is shown at 25
    frames per second for the duration of the speech.

    Raises:
        InputError: the speech is empty.
    """
    if not speech_duration > 0:
        raise InputError("the speech audio is empty; use audio with at least one sample", code="empty-audio")
    no_times = np.zeros(0, dtype=np.float64)
    no_sources = np.zeros(0, dtype=np.int64)
    if source.info.is_photo:
        grid = np.arange(PHOTO_RATE, dtype=np.float64) / PHOTO_RATE
        still = np.zeros(PHOTO_RATE, dtype=np.int64)
        return OutputTimeline(
            _Pattern(no_times, no_sources, 0.0, grid, still, 1.0), speech_duration, source.time_base, ""
        )

    count = source.info.frame_count
    start = float(source.times(0, 1)[0])
    times, end = source.times(0, count) - start, source.info.duration - start
    # A speech that ends before the first frame ends with this frame.
    shortest = float(times[1]) if count > 1 else end
    speech_duration = max(speech_duration - start, shortest) if start else speech_duration
    forward = np.arange(count, dtype=np.int64)
    plain = _Pattern(times, forward, end, no_times, no_sources, 0.0)
    excess = speech_duration - end
    if length == "video" or excess <= _SHORTEST:
        duration = end if length == "video" else speech_duration
        note = ""
        if length == "video" and excess > _SHORTEST:
            note = f"The speech is {excess:.2f} s longer than the video, so the end of the speech is cut."
        return OutputTimeline(plain, duration, source.time_base, note, start)

    # An extension by one or two frames with continuous motion is not visible.
    noticeable = excess > _SILENT_EXTENSION * end / count
    longer = f"The speech is {excess:.2f} s longer than the video"
    if extend == "cut":
        note = f"{longer}, so the end of the speech is cut (extend: cut)."
        return OutputTimeline(plain, end, source.time_base, note, start)
    if extend == "loop":
        pattern = _Pattern(no_times, no_sources, 0.0, times, forward, end)
        note = f"{longer}, so the video restarts until the speech ends (extend: loop)."
    elif extend == "pingpong" and count > 1:
        # The frame times of the backward pass are mirrored about the turning point.
        turn = float(times[-1])
        cycle_times = np.concatenate([times, 2 * turn - times[-2:0:-1]])
        cycle_sources = np.concatenate([forward, forward[-2:0:-1]])
        pattern = _Pattern(no_times, no_sources, 0.0, cycle_times, cycle_sources, 2 * turn)
        note = f"{longer}, so the video plays backward and forward until the speech ends (extend: pingpong)."
    else:
        step, last = np.zeros(1, dtype=np.float64), forward[-1:]
        pattern = _Pattern(times, forward, end, step, last, end / count)
        note = f"{longer}, so the last video frame is repeated until the speech ends (extend: freeze)."
    return OutputTimeline(pattern, speech_duration, source.time_base, note if noticeable else "", start)
