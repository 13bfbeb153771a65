"""Checks that memory usage does not grow with the clip length. Only Python and NumPy allocations are measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Final

import numpy as np

from retalkit.testing.checks.subject import FrameSubject
from retalkit.testing.fixtures.clips import Clip
from retalkit.testing.isolation.allocations import allocated_bytes, take_peak_bytes, trace_allocations

MEMORY: Final = "Peak memory must not depend on the number of frames in the video."

_WARM: Final = 8
"""Number of frames before the first measurement. The second measurement is taken after four times as many frames. If
memory usage has grown, a third measurement is taken after sixteen times as many frames."""
_SHARE: Final = 0.5
"""Maximum permanent memory growth per frame, as a fraction of a frame's size in bytes."""
_SLACK: Final = 1 << 20

_PROBE: Final = 100
_LONG: Final = (800, 1600)
"""Frame counts of the two long clips. The shorter clip is long enough to fill an image bank of limited size."""
_LONG_SHARE: Final = 0.25
"""Maximum memory growth per frame in long clips, as a fraction of a small frame's size. Storing the landmarks of every
frame requires less memory than this limit."""
_ATTEMPTS: Final = 3
"""Number of measurements of a clip before a problem is reported.

A stage may use several threads, and the peak is higher if their own peaks coincide. The lowest peak does not depend on
the scheduling of the threads.
"""
_SECONDS: Final = {_PROBE: 2.0, 800: 10.0}
"""Mapping from a clip's frame count to the maximum processing time in seconds. Longer clips are skipped if this time is
exceeded."""


def check_memory(subject: FrameSubject, clip: Clip) -> None:
    """Process further frames in small batches, and check that memory growth is small compared with the frame size."""
    info = clip.source.info
    frame = info.width * info.height * 3
    stops = [min(count, subject.count(clip)) for count in (_WARM, 4 * _WARM, 16 * _WARM)]
    with trace_allocations():
        session = subject.open("memory", clip, "memory")

        def bytes_after(start: int, stop: int) -> int:
            for first in range(start, stop, _WARM // 2):
                subject.request("memory", session, clip, np.arange(first, min(first + _WARM // 2, stop)))
            return allocated_bytes()

        kept = bytes_after(0, stops[0])
        each = 0.0
        for start, stop in zip(stops, stops[1:], strict=False):
            before, more = kept, stop - start
            kept = bytes_after(start, stop)
            # A cache of limited size fills up only once. Only continued growth indicates a problem.
            if kept - before <= _SHARE * frame * more + _SLACK:
                break
            each = (kept - before) / more / 1024
        else:
            words = f"memory grows by {each:.0f} kB per processed frame (size of one frame: {frame // 1024} kB)"
            subject.exam.problem("memory", words, MEMORY)
        subject.exam.close("memory", session)


@dataclass(frozen=True, slots=True)
class _MemoryUse:
    """Memory usage and processing time measured for one clip."""

    kept: int
    """Number of allocated bytes after ``open``."""
    open_peak: int
    """Peak number of allocated bytes during ``open``."""
    batch_peak: int
    """Peak number of allocated bytes during one batch, excluding ``kept``."""
    seconds: float

    def minimum(self, other: _MemoryUse) -> _MemoryUse:
        """Return the minimum of each value."""
        values = zip(astuple(self), astuple(other), strict=True)
        return _MemoryUse(*(min(pair) for pair in values))


def check_long_clip(subject: FrameSubject, clip_of: Callable[[int], Clip]) -> None:
    """Open two long clips of small frames, process one batch of each clip, and check that memory does not grow with the
    clip length."""
    small = clip_of(_PROBE)
    used: dict[int, _MemoryUse] = {}
    for count in (_PROBE, *_LONG):
        used[count] = _measure(subject, small if count == _PROBE else clip_of(count), count)
        if used[count].seconds > _SECONDS.get(count, np.inf):
            reason = (
                f"a clip of {count} frames took {used[count].seconds:.1f} s, and this check needs {_LONG[-1]} frames"
            )
            subject.exam.skip("long_clip", reason)
            return
    frame = small.source.info.width * small.source.info.height * 3
    few, many = _LONG
    short, long = used[few], used[many]
    for attempt in range(1, _ATTEMPTS):
        if not _problem(subject.call, short, long, frame):
            break
        short, long = (
            least.minimum(_measure(subject, clip_of(count), count, attempt))
            for count, least in ((few, short), (many, long))
        )
    if words := _problem(subject.call, short, long, frame):
        subject.exam.problem("long_clip", words, MEMORY)


def _problem(call: str, short: _MemoryUse, long: _MemoryUse, frame: int) -> str:
    """Return how memory grows between two long clips, or an empty string. ``frame``: size of one frame in bytes."""
    more = _LONG[1] - _LONG[0]
    growth = {
        "memory retained by open()": long.kept - short.kept,
        "peak memory of open()": long.open_peak - short.open_peak,
        f"peak memory of {call}": long.batch_peak - short.batch_peak,
    }
    # Retained memory is included in the peaks, so only the first problem is reported.
    what = next((what for what, grown in growth.items() if grown > _LONG_SHARE * frame * more + _SLACK), None)
    if what is None:
        return ""
    return f"{what} grows by {growth[what] / more / 1024:.0f} kB per clip frame (size of one frame: {frame // 1024} kB)"


def _measure(subject: FrameSubject, clip: Clip, count: int, attempt: int = 0) -> _MemoryUse:
    start = time.perf_counter()
    with trace_allocations():
        session = subject.open("long_clip", clip, f"long-{count}-{attempt}")
        open_peak = take_peak_bytes()
        kept = allocated_bytes()
        take_peak_bytes()
        subject.request("long_clip", session, clip, np.arange(4))
        batch_peak = take_peak_bytes() - kept
        subject.exam.close("long_clip", session)
    return _MemoryUse(kept, open_peak, batch_peak, time.perf_counter() - start)
