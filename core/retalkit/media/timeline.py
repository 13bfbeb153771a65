"""Which source frame the output shows when, also where the speech outlasts the video."""

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
_TOLD = 2.0
"""Frames of the video by which a speech may be longer without a word about it."""
"""Seconds under which a last frame is left out; the one before it lasts that little longer."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pattern:
    """A stretch shown once, then a cycle shown over and over. Times and durations in seconds, float64 [n]."""

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
        """Frames that start before ``end`` seconds."""
        count = int(np.searchsorted(self.once_times, end, side="left"))
        if count < len(self.once_times) or not len(self.cycle_times) or end <= self.once_end:
            return count
        rounds = max(int((end - self.once_end) // self.period), 0)
        rest = end - self.once_end - rounds * self.period
        return count + rounds * len(self.cycle_times) + int(np.searchsorted(self.cycle_times, rest, side="left"))


class OutputTimeline:
    """Implements ``retalkit.stages.Timeline``. Holds numbers for each frame of the source only."""

    def __init__(self, pattern: _Pattern, duration: float, time_base: Fraction, note: str) -> None:
        self._pattern = pattern
        self._duration = duration
        self._count = max(pattern.count_before(duration - _SHORTEST), 1)
        self.time_base = time_base
        """The source's clock; see ``encoding.output_time_base``."""
        self.note = note
        """One sentence where the video was extended or the speech cut, else empty."""

    @property
    def count(self) -> int:
        return self._count

    @property
    def duration(self) -> float:
        """Seconds to the end of the last frame, which is cut or held to end there exactly."""
        return self._duration

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        """float64 [T] presentation times of output frames [start, stop), in seconds from the first one."""
        return self._pattern.times(self._positions(start, stop))

    def durations(self, start: int, stop: int) -> NDArray[np.float64]:
        """float64 [T] seconds for which each of the output frames [start, stop) is shown; all above 0."""
        positions = self._positions(start, stop)
        if not len(positions):
            return np.zeros(0, dtype=np.float64)
        ends = np.full(len(positions), self._duration, dtype=np.float64)
        followed = positions + 1 < self._count
        ends[followed] = self._pattern.times(positions[followed] + 1)
        return ends - self._pattern.times(positions)

    def sources(self, start: int, stop: int) -> NDArray[np.int64]:
        """int64 [T] source index of each output frame [start, stop)."""
        return self._pattern.sources(self._positions(start, stop))

    def _positions(self, start: int, stop: int) -> NDArray[np.int64]:
        return np.arange(max(start, 0), max(min(stop, self._count), max(start, 0)), dtype=np.int64)


def build_timeline(
    source: MediaSource, speech_duration: float, length: Length = "speech", extend: Extend = "pingpong"
) -> OutputTimeline:
    """Lays the source out in time. All output times are times of the source, or sums of its steps, never a grid.

    ``length="speech"``: the output ends with the speech's last sample; ``"video"``: with the video's last frame.
    Where the video is too short: ``pingpong`` plays it backward and forward again with each step as long as it was,
    so that motion never jumps; ``loop`` starts over; ``freeze`` holds the last frame (repeated at the mean rate);
    ``cut`` ends with the video. A photo is shown at 25 frames a second for as long as the speech lasts.

    Raises:
        InputError: the speech has no length.
    """
    if not speech_duration > 0:
        raise InputError("the speech has length 0: give a sound with at least one sample")
    nothing = np.zeros(0, dtype=np.float64)
    no_source = np.zeros(0, dtype=np.int64)
    if source.info.is_photo:
        grid = np.arange(PHOTO_RATE, dtype=np.float64) / PHOTO_RATE
        still = np.zeros(PHOTO_RATE, dtype=np.int64)
        return OutputTimeline(
            _Pattern(nothing, no_source, 0.0, grid, still, 1.0), speech_duration, source.time_base, ""
        )

    count, end = source.info.frame_count, source.info.duration
    times = source.times(0, count)
    forward = np.arange(count, dtype=np.int64)
    plain = _Pattern(times, forward, end, nothing, no_source, 0.0)
    lack = speech_duration - end
    if length == "video" or lack <= _SHORTEST:
        duration = end if length == "video" else speech_duration
        note = ""
        if length == "video" and lack > _SHORTEST:
            note = f"The speech lasts {lack:.2f} s longer than the video and is cut there."
        return OutputTimeline(plain, duration, source.time_base, note)

    # A frame or two more of the same motion is nothing that anybody sees.
    told = lack > _TOLD * end / count
    longer = f"The speech lasts {lack:.2f} s longer than the video"
    if extend == "cut":
        note = f"{longer} and is cut there (extend: cut)."
        return OutputTimeline(plain, end, source.time_base, note)
    if extend == "loop":
        pattern = _Pattern(nothing, no_source, 0.0, times, forward, end)
        note = f"{longer}, so the video starts over until the speech ends (extend: loop)."
    elif extend == "pingpong" and count > 1:
        # Frame i comes back when the motion is there again: at the turn's mirror image of its own time.
        turn = float(times[-1])
        cycle_times = np.concatenate([times, 2 * turn - times[-2:0:-1]])
        cycle_sources = np.concatenate([forward, forward[-2:0:-1]])
        pattern = _Pattern(nothing, no_source, 0.0, cycle_times, cycle_sources, 2 * turn)
        note = f"{longer}, so it plays backward and forward again until the speech ends (extend: pingpong)."
    else:
        step, last = np.zeros(1, dtype=np.float64), forward[-1:]
        pattern = _Pattern(times, forward, end, step, last, end / count)
        note = f"{longer}, so its last frame is held until the speech ends (extend: freeze)."
    return OutputTimeline(pattern, speech_duration, source.time_base, note if told else "")
