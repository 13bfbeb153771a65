"""Checks for all stages that process frames."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from retalkit.testing.checks.memory import check_long_clip, check_memory
from retalkit.testing.checks.speeches import check_speeches
from retalkit.testing.checks.subject import EMPTY, Clips, FrameSubject, Indexes
from retalkit.testing.checks.values import Row, first_difference
from retalkit.testing.examination import arrays_in, same_values
from retalkit.testing.fixtures.clips import Clip
from retalkit.testing.isolation.sandbox import seed_generators

SLOW: Final = 0.3
"""Processing time in seconds per frame. Only a few frames are checked for slower stages."""
_FAST_COUNT: Final = 8
_SLOW_COUNT: Final = 2
_SEED: Final = 20_000_003

_AFTER_RESULT: Final = (
    "repeatable",
    "batches",
    "empty",
    "close",
    "resume",
    "start",
    "order",
    "seed",
    "no_face",
    "odd_size",
    "one_pixel",
    "one_frame",
    "end",
    "undeclared",
    "silence",
    "short_speech",
    "memory",
    "long_clip",
    "networks",
)
"""Names of the checks that require a result from the first session."""
_BATCHES = "Results must not depend on the batch size. One batch of N frames must equal N batches of one frame."
_KEPT = "Returned arrays must not change later. Return new arrays in every result instead of a shared buffer."
_REPEATABLE = "Identical inputs, options and seeds must produce bit-identical results."
_GLOBAL = "Results must not depend on process-wide random generators. Use a generator seeded with StageContext.seed."
_RESUME = "A resumed run opens the stage with the cache of the interrupted run. The results must be identical."
_START = "A resumed run opens a new session and may first request a later frame."
_ORDER = "A batch may contain frames in any order and more than once, because the output may play the source backward."


def check_frames(subject: FrameSubject, clips: Clips, *, briefly: bool = False) -> bool:
    """Run all frame checks, or check a single frame if ``briefly`` is set, and record results in ``subject.exam``.

    Return whether the stage is slow. A slow stage takes more than ``SLOW`` seconds per frame.
    """
    if briefly:
        _check_one_frame(subject, clips.whole)
        return True
    exam = subject.exam
    state = _FirstResults()
    with exam.check("result"):
        _first(subject, clips.whole, state)
    if not state.rows:
        exam.skip(_AFTER_RESULT, f"{subject.call} returned no valid result: fix `result` first")
        return state.slow
    with exam.check("repeatable"):
        _repeat(subject, clips.whole, state)
    if not state.same:
        exam.skip(
            ("resume", "start", "order", "seed"),
            "two sessions return different results: fix the reported cause first",
        )
    else:
        with exam.check("resume"):
            _resume(subject, clips.whole, state)
        if not state.slow and not subject.serial:
            with exam.check("start"):
                _start_later(subject, clips.whole, state)
        with exam.check("seed"):
            _other_seed(subject, clips.whole, state)
    few = 1 if state.slow else 3
    _check_clip(subject, clips.faceless, "no_face", range(3))
    _check_clip(subject, clips.odd, "odd_size", range(few))
    _check_clip(subject, clips.one_pixel, "one_pixel", range(2))
    if not subject.serial:
        _check_clip(subject, clips.whole, "end", *_ends(subject, clips.whole, state.slow))
    if clips.undeclared is not None:
        _check_clip(subject, clips.undeclared, "undeclared", range(few))
    if subject.uses_speech:
        check_speeches(subject, clips, slow=state.slow)
    if state.slow:
        exam.skip(
            ("one_frame", "start", "memory", "long_clip"),
            f"processing takes {state.seconds:.1f} s per frame, which is too slow for this check",
        )
    else:
        _check_clip(subject, clips.one_frame, "one_frame", range(1))
        with exam.check("memory"):
            check_memory(subject, clips.whole)
        with exam.check("long_clip"):
            check_long_clip(subject, clips.long)
    subject.check_late_loading(clips.whole)
    exam.check_networks()
    subject.finish()
    return state.slow


def _check_one_frame(subject: FrameSubject, clip: Clip) -> None:
    with subject.exam.check("result"):
        session = subject.open("result", clip, "first")
        subject.request("result", session, clip, np.arange(1))
        with subject.exam.check("empty"):
            subject.request("empty", session, clip, np.arange(0))
        subject.exam.close("result", session)
    others = tuple(name for name in _AFTER_RESULT if name != "empty")
    subject.exam.skip(others, "the stage is slow, and these checks already ran for open()")


class _FirstResults:
    """Results and processing time of the first session."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.seconds = 0.0
        self.same = False
        """Whether a second session returned identical results."""

    @property
    def slow(self) -> bool:
        return self.seconds > SLOW

    @property
    def numbers(self) -> Indexes:
        return np.arange(len(self.rows), dtype=np.int64)

    @property
    def batches(self) -> list[Indexes]:
        """Return the batches of the first session."""
        return [part for part in (self.numbers[:_SLOW_COUNT], self.numbers[_SLOW_COUNT:]) if len(part)]


def _first(subject: FrameSubject, clip: Clip, state: _FirstResults) -> None:
    """Process the first frames in two batches in one session. Slow stages receive only the first batch."""
    seed_generators(1)
    session = subject.exam.timed("open", lambda: subject.open("result", clip, "first"))
    subject.results = []
    start = time.perf_counter()
    rows = subject.request("result", session, clip, np.arange(_SLOW_COUNT))
    state.seconds = (time.perf_counter() - start) / _SLOW_COUNT
    before = arrays_in(subject.results)
    copies = {name: array.copy() for name, array in before.items()}
    subject.results = None
    if not state.slow:
        rows += subject.request("result", session, clip, np.arange(_SLOW_COUNT, _FAST_COUNT))
    if not all(same_values(array, copies[name]) for name, array in before.items()):
        words = f"a second call of {subject.call} modified the result of the first call"
        subject.exam.problem("batches", words, _KEPT)
    subject.exam.close("result", session)
    state.rows = rows


def _repeat(subject: FrameSubject, clip: Clip, state: _FirstResults) -> None:
    """Process single-frame batches in a second session with different global generator states, and analyse any
    differences."""
    exam = subject.exam
    seed_generators(2)
    session = subject.open("repeatable", clip, "again")
    rows: list[Row] = []
    times: list[float] = []
    for number in state.numbers:
        start = time.perf_counter()
        rows += subject.request("repeatable", session, clip, np.array([number]))
        times.append(time.perf_counter() - start)
    # The first call may include one-time initialisation and is therefore excluded from the median.
    exam.record_seconds("frame", float(np.median(times[1:] if len(times) > 1 else times)))
    with exam.check("empty"):
        results = subject.request("empty", session, clip, np.zeros(0, np.int64))
        if results:
            exam.problem("empty", f"{subject.call} returned {len(results)} results for a batch without frames", EMPTY)
    exam.check_close(session)
    found = first_difference(state.rows, rows, state.numbers.tolist())
    state.same = not found
    if found:
        _explain(subject, clip, state, found)
    else:
        with exam.check("batches"):
            pass


def _explain(subject: FrameSubject, clip: Clip, state: _FirstResults, found: str) -> None:
    """Determine which of three causes explains the difference between the two sessions, and record the cause."""
    exam = subject.exam
    for name, seed in (("repeatable", 1), ("seed", 2)):
        seed_generators(seed)
        rows = _results(subject, clip, "repeatable", f"explain-{name}", state.batches)
        if different := first_difference(state.rows, rows, state.numbers.tolist()):
            if name == "repeatable":
                exam.problem(
                    "repeatable",
                    f"two sessions with identical input return different results: {different}",
                    _REPEATABLE,
                )
            else:
                words = f"the state of the process-wide random generators affects the result: {different}"
                exam.problem("seed", words, _GLOBAL)
            return
    if not exam.has_problem("batches"):
        words = f"single-frame batches and one batch of the same frames return different results: {found}"
        exam.problem("batches", words, _BATCHES)


def _results(subject: FrameSubject, clip: Clip, check: str, cache: str, batches: Iterable[Indexes]) -> list[Row]:
    """Return the results of a new session for the given batches."""
    session = subject.open(check, clip, cache)
    try:
        return [row for batch in batches for row in subject.request(check, session, clip, batch)]
    finally:
        subject.exam.close(check, session)


def _resume(subject: FrameSubject, clip: Clip, state: _FirstResults) -> None:
    begin = 0 if subject.serial else len(state.rows) // 2
    numbers = state.numbers[begin:]
    seed_generators(3)
    rows = _results(subject, clip, "resume", "first", [numbers])
    if found := first_difference(state.rows[begin:], rows, numbers.tolist()):
        subject.exam.problem(
            "resume", f"a second session with the first session's cache returns different results: {found}", _RESUME
        )
    if subject.any_order:
        with subject.exam.check("order"):
            order = np.concatenate([state.numbers[::-1], state.numbers[:1]])
            rows = _results(subject, clip, "order", "first", [order])
            expected = [state.rows[number] for number in order]
            if found := first_difference(expected, rows, order.tolist()):
                subject.exam.problem("order", f"frames in reverse order produce different results: {found}", _ORDER)


def _start_later(subject: FrameSubject, clip: Clip, state: _FirstResults) -> None:
    begin = len(state.rows) // 2
    numbers = state.numbers[begin:]
    rows = _results(subject, clip, "start", "later", [numbers])
    if found := first_difference(state.rows[begin:], rows, numbers.tolist()):
        subject.exam.problem(
            "start", f"a session that starts with frame {begin} returns different results: {found}", _START
        )


def _other_seed(subject: FrameSubject, clip: Clip, state: _FirstResults) -> None:
    """Check that two sessions with one non-default seed and different batch sizes return identical results.

    The results may differ from the first session's results, which were computed with the default seed.
    """
    numbers = state.numbers[: 1 if state.slow else 3]
    subject.seed = _SEED
    try:
        rows = _results(subject, clip, "seed", "seed", [numbers])
        again = _results(subject, clip, "seed", "seed-again", [numbers[:1], numbers[1:]])
    finally:
        subject.seed = 0
    if found := first_difference(rows, again, numbers.tolist()):
        words = f"two sessions with StageContext.seed = {_SEED} return different results: {found}"
        subject.exam.problem("seed", words, _REPEATABLE)


def _check_clip(subject: FrameSubject, clip: Clip, check: str, *batches: Sequence[int]) -> None:
    with subject.exam.check(check):
        numbers = [np.asarray(batch, np.int64) for batch in batches]
        _results(subject, clip, check, check, [batch[batch < subject.count(clip)] for batch in numbers])


def _ends(subject: FrameSubject, clip: Clip, slow: bool) -> list[range]:
    """Return frame numbers near the end of the source and at the end of the timeline."""
    source, last = clip.count, subject.count(clip)
    if slow:
        return [range(last - 1, last)]
    return [range(source - 2, source + 4), range(last - 4, last)] if last > source else [range(last - 2, last)]
