"""The checks that every stage which serves frames must pass, whatever it makes of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from retalkit.testing.checks.memory import long_clip, memory
from retalkit.testing.checks.speeches import look_at_speeches
from retalkit.testing.checks.subject import EMPTY, Clips, FrameSubject, Indexes
from retalkit.testing.checks.values import Row, difference
from retalkit.testing.examination import arrays_of, same_values
from retalkit.testing.fixtures.clips import Clip
from retalkit.testing.isolation.sandbox import seed_generators

SLOW: Final = 0.3
"""Seconds a frame from which on only few frames are tried."""
_QUICK: Final = 8
_FEW: Final = 2
_SEED: Final = 20_000_003

_OTHERS: Final = (
    "repeatable, batches, empty, resume, start, seed, no_face, odd_size, one_pixel, one_frame, memory and long_clip"
)
_BATCHES = (
    "How the frames are cut into batches must not change a result: N frames at once give what N batches of one give."
)
_KEPT = "What a stage has given stays as it is: every frame gets arrays of its own, not one buffer for all."
_REPEATABLE = "The same input, options and seed give the same result, bit for bit."
_GLOBAL = (
    "A result must not depend on the process's random generators: use one of your own, seeded by StageContext.seed."
)
_RESUME = "A run that was killed is opened again with the same cache and gives the same result."
_START = "A run that goes on where it stopped opens a new session that is first asked for a later frame."
_ORDER = "The frames of a batch may come in any order, and again: the output may go back and forth."


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
        exam.skip(_OTHERS, f"{subject.call} gave no result to go on with: mend `result` first")
        return state.slow
    with exam.check("repeatable"):
        _again(subject, clips.whole, state)
    if not state.same:
        exam.skip("resume, start and seed", "results are not the same again in the first place")
    else:
        with exam.check("resume"):
            _resumed(subject, clips.whole, state)
        if not state.slow and not subject.serial:
            with exam.check("start"):
                _started_later(subject, clips.whole, state)
        with exam.check("seed"):
            _seeded(subject, clips.whole, state)
    few = 1 if state.slow else 3
    _odd(subject, clips.faceless, "no_face", range(3))
    _odd(subject, clips.odd, "odd_size", range(few))
    _odd(subject, clips.one_pixel, "one_pixel", range(2))
    if not subject.serial:
        _odd(subject, clips.whole, "end", *_ends(subject, clips.whole, state.slow))
    if clips.undeclared is not None:
        _odd(subject, clips.undeclared, "undeclared", range(few))
    if subject.hears:
        look_at_speeches(subject, clips, slow=state.slow)
    if state.slow:
        reason = f"it takes {state.seconds:.1f} s a frame, and this takes many"
        exam.skip("memory", reason)
        exam.skip("long_clip", reason)
    else:
        _odd(subject, clips.one_frame, "one_frame", range(1))
        with exam.check("memory"):
            memory(subject, clips.whole)
        with exam.check("long_clip"):
            long_clip(subject, clips.long)
    subject.finished()
    return state.slow


def _one_frame(subject: FrameSubject, clip: Clip) -> None:
    with subject.exam.check("result"):
        session = subject.open("result", clip, "first")
        subject.served("result", session, clip, np.arange(1))
        subject.served("empty", session, clip, np.arange(0))
        subject.exam.close("result", session)
    subject.exam.skip("other checks", "it is slow, and most of them were made with its other options")


class _Served:
    """What the first session gave."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.seconds = 0.0
        self.same = False
        """Whether a second session gave the same."""

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
    subject.given = []
    start = time.perf_counter()
    rows = subject.served("result", session, clip, np.arange(_FEW))
    state.seconds = (time.perf_counter() - start) / _FEW
    before = arrays_of(subject.given)
    kept = {name: array.copy() for name, array in before.items()}
    subject.given = None
    if not state.slow:
        rows += subject.served("result", session, clip, np.arange(_FEW, _QUICK))
    if not all(same_values(array, kept[name]) for name, array in before.items()):
        words = f"a second call of {subject.call} changed what the first one had given"
        subject.exam.problem("batches", words, _KEPT)
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
            exam.problem("empty", f"{subject.call} gave {len(given)} results for a batch without frames", EMPTY)
    exam.check_close(session)
    found = difference(state.rows, rows, state.numbers.tolist())
    state.same = not found
    if found:
        _explain(subject, clip, state, found)
    else:
        with exam.check("batches"):
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
    if not exam.broken("batches"):
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
                subject.exam.problem("order", f"frames asked for backward differ: {found}", _ORDER)


def _started_later(subject: FrameSubject, clip: Clip, state: _Served) -> None:
    begin = len(state.rows) // 2
    numbers = state.numbers[begin:]
    rows = _all(subject, clip, "start", "later", [numbers])
    if found := difference(state.rows[begin:], rows, numbers.tolist()):
        subject.exam.problem("start", f"a session that begins with frame {begin} differs: {found}", _START)


def _seeded(subject: FrameSubject, clip: Clip, state: _Served) -> None:
    """Two sessions with another seed, with other batches: they may differ from the first ones, not from each other."""
    numbers = state.numbers[: 1 if state.slow else 3]
    subject.seed = _SEED
    try:
        rows = _all(subject, clip, "seed", "seed", [numbers])
        again = _all(subject, clip, "seed", "seed-again", [numbers[:1], numbers[1:]])
    finally:
        subject.seed = 0
    if found := difference(rows, again, numbers.tolist()):
        words = f"two sessions with StageContext.seed = {_SEED} differ: {found}"
        subject.exam.problem("seed", words, _REPEATABLE)


def _odd(subject: FrameSubject, clip: Clip, check: str, *batches: Sequence[int]) -> None:
    with subject.exam.check(check):
        asked = [np.asarray(numbers, np.int64) for numbers in batches]
        _all(subject, clip, check, check, [numbers[numbers < subject.count(clip)] for numbers in asked])


def _ends(subject: FrameSubject, clip: Clip, slow: bool) -> list[range]:
    """Frames around the end of the source, and the last ones."""
    source, last = clip.count, subject.count(clip)
    if slow:
        return [range(last - 1, last)]
    return [range(source - 2, source + 4), range(last - 4, last)] if last > source else [range(last - 2, last)]
