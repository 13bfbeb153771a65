"""The checks that every stage which serves frames must pass, whatever it makes of them."""

from __future__ import annotations

import gc
import time
import tracemalloc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retalkit.testing.clips import Clip
from retalkit.testing.examination import Examination
from retalkit.testing.sandbox import seed_generators
from retalkit.testing.values import Row, difference

Indexes = NDArray[np.int64]

SLOW: Final = 0.3
"""Seconds a frame from which on only few frames are tried."""
_QUICK: Final = 8
_FEW: Final = 2
_WARM: Final = 8
"""Frames before memory is first looked at; then four times as many in all, then sixteen times as many if need be."""
_SHARE: Final = 0.5
"""Part of a frame's bytes that may stay for each further frame."""
_SLACK: Final = 1 << 20

_BATCHES = (
    "How the frames are cut into batches must not change a result: N frames at once give what N batches of one give."
)
_REPEATABLE = "The same input, options and seed give the same result, bit for bit."
_GLOBAL = (
    "A result must not depend on the process's random generators: use one of your own, seeded by StageContext.seed."
)
_RESUME = "A run that was killed is opened again with the same cache and gives the same result."
_START = "A run that goes on where it stopped opens a new session that is first asked for a later frame."
_MEMORY = "Peak memory does not depend on the length of the video."
_EMPTY = "A batch may have no frames; then the result has none."
_OPEN = "open() works for every clip, also for one without a face."


@dataclass(frozen=True)
class Clips:
    """What a stage is tried on, each in landmarks and coefficients that the stage takes."""

    whole: Clip
    odd: Clip
    one_pixel: Clip
    one_frame: Clip
    faceless: Clip


class FrameSubject(ABC):
    """Something that is opened for a clip and gives one result for each frame."""

    serial = False
    """Whether the runner always begins with the first frame."""
    any_order = False
    """Whether frames may be asked for in any order and again."""
    call = ""
    """How messages call the method, such as ``sync()``."""
    contract = ""
    """What a result is."""

    def __init__(self, exam: Examination, stage: Any) -> None:
        self.exam = exam
        self.stage = stage

    @abstractmethod
    def opened(self, clip: Clip, cache: str) -> Any:
        """A session for the clip with the cache of that name, or an exception."""

    @abstractmethod
    def served(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        """Asks the session for frames; notes what is wrong with the result. Raises StopCheckError where it is of no
        use."""

    def finished(self) -> None:
        """Called when all is done: for what can only be said in the end."""
        return

    def open(self, check: str, clip: Clip, cache: str) -> Any:
        """``opened`` under watch."""
        return self.exam.call(check, "open()", _OPEN, lambda: self.opened(clip, cache))


def examine_frames(subject: FrameSubject, clips: Clips, *, briefly: bool = False) -> bool:
    """All checks, or ``briefly`` a single frame; what they find is noted in the subject's examination.

    Returns whether the stage is slow.
    """
    if briefly:
        _one_frame(subject, clips.whole)
        return True
    exam = subject.exam
    state = _Served()
    with exam.check("result"):
        _first(subject, clips.whole, state)
    if not state.rows:
        return state.slow
    with exam.check("repeatable"):
        _again(subject, clips.whole, state)
    if exam.broken("batches") or exam.broken("repeatable"):
        exam.skip("resume", "results are not the same again in the first place")
    else:
        with exam.check("resume"):
            _resumed(subject, clips.whole, state)
        if not state.slow and not subject.serial:
            with exam.check("start"):
                _started_later(subject, clips.whole, state)
    few = 1 if state.slow else 3
    _odd(subject, clips.odd, "odd_size", range(few))
    _odd(subject, clips.one_pixel, "one_pixel", range(2))
    _odd(subject, clips.faceless, "no_face", range(3))
    if state.slow:
        exam.skip("memory", f"it takes {state.seconds:.1f} s a frame, and this takes many")
    else:
        _odd(subject, clips.one_frame, "one_frame", range(1))
        with exam.check("memory"):
            _memory(subject, clips.whole)
    subject.finished()
    return state.slow


def _one_frame(subject: FrameSubject, clip: Clip) -> None:
    with subject.exam.check("result"):
        session = subject.open("result", clip, "first")
        subject.served("result", session, clip, np.arange(1))
        subject.served("result", session, clip, np.arange(0))
        subject.exam.close("result", session)
    subject.exam.skip("other checks", "it is slow, and most of them were made with its other options")


class _Served:
    """What the first session gave."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.seconds = 0.0

    @property
    def slow(self) -> bool:
        return self.seconds > SLOW

    @property
    def numbers(self) -> Indexes:
        return np.arange(len(self.rows), dtype=np.int64)

    @property
    def batches(self) -> list[Indexes]:
        """As the first session was given them."""
        return [part for part in (self.numbers[:_FEW], self.numbers[_FEW:]) if len(part)]


def _first(subject: FrameSubject, clip: Clip, state: _Served) -> None:
    """One session over the first frames, in two batches; slow stages get the first of them only."""
    seed_generators(1)
    session = subject.exam.timed("open", 1, lambda: subject.open("result", clip, "first"))
    start = time.perf_counter()
    rows = subject.served("result", session, clip, np.arange(_FEW))
    state.seconds = (time.perf_counter() - start) / _FEW
    if not state.slow:
        rows += subject.served("result", session, clip, np.arange(_FEW, _QUICK))
    subject.exam.close("result", session)
    state.rows = rows


def _again(subject: FrameSubject, clip: Clip, state: _Served) -> None:
    """A second session, frame by frame, with other global generators; what differs is then looked into."""
    exam = subject.exam
    seed_generators(2)
    session = subject.open("repeatable", clip, "again")
    rows: list[Row] = []
    taken: list[float] = []
    for number in state.numbers:
        start = time.perf_counter()
        rows += subject.served("repeatable", session, clip, np.array([number]))
        taken.append(time.perf_counter() - start)
    # The first one may have loaded a network.
    exam.note_seconds("frame", float(np.median(taken[1:] if len(taken) > 1 else taken)))
    with exam.check("empty"):
        given = subject.served("empty", session, clip, np.zeros(0, np.int64))
        if given:
            exam.problem("empty", f"{subject.call} gave {len(given)} results for a batch without frames", _EMPTY)
    exam.check_close(session)
    found = difference(state.rows, rows, state.numbers.tolist())
    if found:
        _explain(subject, clip, state, found)
    else:
        for name in ("batches", "seed"):
            with exam.check(name):
                pass


def _explain(subject: FrameSubject, clip: Clip, state: _Served, found: str) -> None:
    """Which of three things made the second session differ."""
    exam = subject.exam
    for name, seed in (("repeatable", 1), ("seed", 2)):
        seed_generators(seed)
        rows = _all(subject, clip, "repeatable", f"explained-{name}", state.batches)
        if different := difference(state.rows, rows, state.numbers.tolist()):
            if name == "repeatable":
                exam.problem("repeatable", f"two sessions with the same input differ: {different}", _REPEATABLE)
            else:
                exam.problem("seed", f"another state of the global random generators changes it: {different}", _GLOBAL)
            return
    exam.problem("batches", f"frames one by one and the same frames together differ: {found}", _BATCHES)


def _all(subject: FrameSubject, clip: Clip, check: str, cache: str, batches: Iterable[Indexes]) -> list[Row]:
    """Results of a new session."""
    session = subject.open(check, clip, cache)
    try:
        return [row for batch in batches for row in subject.served(check, session, clip, batch)]
    finally:
        subject.exam.close(check, session)


def _resumed(subject: FrameSubject, clip: Clip, state: _Served) -> None:
    begin = 0 if subject.serial else len(state.rows) // 2
    numbers = state.numbers[begin:]
    seed_generators(3)
    rows = _all(subject, clip, "resume", "first", [numbers])
    if found := difference(state.rows[begin:], rows, numbers.tolist()):
        subject.exam.problem("resume", f"a second session with the same cache differs: {found}", _RESUME)
    if subject.any_order:
        with subject.exam.check("order"):
            asked = np.concatenate([state.numbers[::-1], state.numbers[:1]])
            rows = _all(subject, clip, "order", "first", [asked])
            expected = [state.rows[number] for number in asked]
            if found := difference(expected, rows, asked.tolist()):
                subject.exam.problem(
                    "order",
                    f"frames asked for backward differ: {found}",
                    "The frames of a batch may come in any order, and again: the output may go back and forth.",
                )


def _started_later(subject: FrameSubject, clip: Clip, state: _Served) -> None:
    begin = len(state.rows) // 2
    numbers = state.numbers[begin:]
    rows = _all(subject, clip, "start", "later", [numbers])
    if found := difference(state.rows[begin:], rows, numbers.tolist()):
        subject.exam.problem("start", f"a session that begins with frame {begin} differs: {found}", _START)


def _odd(subject: FrameSubject, clip: Clip, check: str, numbers: Sequence[int]) -> None:
    with subject.exam.check(check):
        asked = np.asarray(numbers, np.int64)[: clip.output_count]
        _all(subject, clip, check, check, [asked])


def _memory(subject: FrameSubject, clip: Clip) -> None:
    """Frames in small batches; what stays allocated after more of them is held against what frames take."""
    info = clip.source.info
    frame = info.width * info.height * 3
    limit = clip.count if subject.serial else clip.output_count
    stops = [min(count, limit) for count in (_WARM, 4 * _WARM, 16 * _WARM)]
    tracemalloc.start()
    try:
        session = subject.open("memory", clip, "memory")
        held = _held_after(lambda: _serve_range(subject, session, clip, 0, stops[0]))
        each = 0.0
        for start, stop in zip(stops, stops[1:], strict=False):
            before, more = held, stop - start
            held = _held_after(lambda a=start, b=stop: _serve_range(subject, session, clip, a, b))
            # A cache of a fixed size fills up once: only what goes on growing is a fault.
            if held - before <= _SHARE * frame * more + _SLACK:
                break
            each = (held - before) / more / 1024
        else:
            words = f"holds {each:.0f} kB more for each further frame (a frame takes {frame // 1024} kB)"
            subject.exam.problem("memory", words, _MEMORY)
        subject.exam.close("memory", session)
    finally:
        tracemalloc.stop()


def _serve_range(subject: FrameSubject, session: Any, clip: Clip, start: int, stop: int) -> None:
    for first in range(start, stop, _WARM // 2):
        subject.served("memory", session, clip, np.arange(first, min(first + _WARM // 2, stop)))


def _held_after(work: Callable[[], None]) -> int:
    work()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
