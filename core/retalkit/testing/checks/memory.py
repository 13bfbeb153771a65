"""Whether what a stage takes grows with the clip. Arrays of numpy are seen, networks' own memory is not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from retalkit.testing.checks.subject import FrameSubject
from retalkit.testing.fixtures.clips import Clip
from retalkit.testing.isolation.allocations import counted, held, most_held

MEMORY: Final = "Peak memory does not depend on the length of the video."

_WARM: Final = 8
"""Frames before memory is first looked at; then four times as many in all, then sixteen times as many if need be."""
_SHARE: Final = 0.5
"""Part of a frame's bytes that may stay for each further frame."""
_SLACK: Final = 1 << 20

_PROBE: Final = 100
_LONG: Final = (800, 1600)
"""Frames of the two long clips: enough for a bank of pictures with a limit to be full with the first one."""
_LONG_SHARE: Final = 0.25
"""Of the small frames of long clips: landmarks of every frame stay below it."""
_SECONDS: Final = {_PROBE: 2.0, 800: 10.0}
"""Frames of a clip -> seconds that it may take, or else the longer ones are left out."""


def memory(subject: FrameSubject, clip: Clip) -> None:
    """Frames in small batches; what stays allocated after more of them is held against what frames take."""
    info = clip.source.info
    frame = info.width * info.height * 3
    stops = [min(count, subject.count(clip)) for count in (_WARM, 4 * _WARM, 16 * _WARM)]
    with counted():
        session = subject.open("memory", clip, "memory")

        def held_after(start: int, stop: int) -> int:
            for first in range(start, stop, _WARM // 2):
                subject.served("memory", session, clip, np.arange(first, min(first + _WARM // 2, stop)))
            return held()

        kept = held_after(0, stops[0])
        each = 0.0
        for start, stop in zip(stops, stops[1:], strict=False):
            before, more = kept, stop - start
            kept = held_after(start, stop)
            # A cache of a fixed size fills up once: only what goes on growing is a fault.
            if kept - before <= _SHARE * frame * more + _SLACK:
                break
            each = (kept - before) / more / 1024
        else:
            words = f"holds {each:.0f} kB more for each further frame (a frame takes {frame // 1024} kB)"
            subject.exam.problem("memory", words, MEMORY)
        subject.exam.close("memory", session)


@dataclass(frozen=True, slots=True)
class _Taken:
    """Bytes, and seconds, that a clip took."""

    held: int
    """After ``open``."""
    opening: int
    """At most while it was opened."""
    batch: int
    """At most while one batch was served, besides what was held."""
    seconds: float


def long_clip(subject: FrameSubject, clip_of: Callable[[int], Clip]) -> None:
    """Opens two long clips of small frames and serves a batch of each: the longer one must not take more."""
    small = clip_of(_PROBE)
    taken: dict[int, _Taken] = {}
    for count in (_PROBE, *_LONG):
        taken[count] = _taken(subject, small if count == _PROBE else clip_of(count), count)
        if taken[count].seconds > _SECONDS.get(count, np.inf):
            reason = f"a clip of {count} frames took {taken[count].seconds:.1f} s, and this takes {_LONG[-1]}"
            subject.exam.skip("long_clip", reason)
            return
    few, many = _LONG
    short, long = taken[few], taken[many]
    frame = small.source.info.width * small.source.info.height * 3
    grown = {
        "open() keeps": long.held - short.held,
        "open() takes up to": long.opening - short.opening,
        f"{subject.call} takes up to": long.batch - short.batch,
    }
    limit = _LONG_SHARE * frame * (many - few) + _SLACK
    # What is kept is also taken, so that the first is enough.
    if (what := next((what for what, more in grown.items() if more > limit), None)) is not None:
        each = grown[what] / (many - few) / 1024
        words = f"{what} {each:.0f} kB more for each further frame of the clip (a frame takes {frame // 1024} kB)"
        subject.exam.problem("long_clip", words, MEMORY)


def _taken(subject: FrameSubject, clip: Clip, count: int) -> _Taken:
    start = time.perf_counter()
    with counted():
        session = subject.open("long_clip", clip, f"long-{count}")
        opening = most_held()
        kept = held()
        most_held()
        subject.served("long_clip", session, clip, np.arange(4))
        batch = most_held() - kept
        subject.exam.close("long_clip", session)
    return _Taken(kept, opening, batch, time.perf_counter() - start)
