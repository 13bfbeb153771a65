"""Checks of a denoiser."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retalkit.stages import SPEECH_RATE, DenoiseClip
from retalkit.testing.checks.values import difference, misfit, out_of_range
from retalkit.testing.examination import CallError, Examination, StopCheckError, same_values
from retalkit.testing.fixtures.upstream import sound
from retalkit.testing.isolation.allocations import counted, held
from retalkit.testing.isolation.sandbox import seed_generators

Float = NDArray[np.float32]

_SECONDS: Final = 6.3
"""Of the sound, which is no whole number of anything."""
_SLOW: Final = 0.3
"""Seconds of work for one of sound, from which on memory is not looked at."""
_WARM: Final = 16
"""Seconds of sound before memory is first looked at; some denoisers look far around."""
_SHARE: Final = 0.5
_SLACK: Final = 1 << 19
_SILENT: Final = 1e-3

_GIVES = "denoise() and finish() give mono float32 [N] in [-1, 1]."
_LENGTH = "All chunks together have exactly the input's length, with no delay against it."
_CHUNKS = "How the sound is cut into chunks must not change the result."
_REPEATABLE = "The same input, options and seed give the same result, bit for bit."
_GLOBAL = (
    "A result must not depend on the process's random generators: use one of your own, seeded by StageContext.seed."
)
_CHUNK = "A chunk may have any length, also none; then nothing is ready, or what was held back."
_KEPT = "What a denoiser has given stays as it is: every chunk is an array of its own, not one buffer for all."
_SEED: Final = 20_000_003
_SILENCE = "A denoiser adds nothing: silence stays silent."
_MEMORY = "Peak memory does not depend on the length of the sound."


def examine_denoiser(exam: Examination, stage: Any) -> None:
    """All checks; what they find is noted."""
    waveform = sound(_SECONDS)
    seed_generators(1)
    results: list[Float] = []
    seconds = 0.0
    with exam.check("result"):
        start = time.perf_counter()
        results.append(_denoised(exam, stage, "result", waveform, (SPEECH_RATE,)))
        seconds = (time.perf_counter() - start) / _SECONDS
        exam.note_seconds("second of sound", seconds)
    if not results:
        exam.skip("repeatable, chunks, seed, short, silence and memory", "there is no result: mend what is told first")
        return
    _look_at_place(exam, waveform, results[0])
    _repeated(exam, stage, waveform, results[0])
    with exam.check("seed"):
        one, other = (_denoised(exam, stage, "seed", waveform[:SPEECH_RATE], (5000,), _SEED) for _ in range(2))
        if found := _apart(one, other):
            exam.problem("seed", f"two sessions with StageContext.seed = {_SEED} differ: {found}", _REPEATABLE)
    with exam.check("short"):
        for length in (0, 1, 7):
            _denoised(exam, stage, "short", waveform[:length], (SPEECH_RATE,))
    with exam.check("silence"):
        _silence(exam, stage)
    if seconds > _SLOW:
        exam.skip("memory", f"it takes {seconds:.1f} s for a second of sound, and this takes many")
    else:
        with exam.check("memory"):
            _memory(exam, stage)


def _denoised(exam: Examination, stage: Any, check: str, waveform: Float, sizes: Sequence[int], seed: int = 0) -> Float:
    """The whole result of a new session that is given chunks of these sizes, over and over, 0 among them or not."""
    context = exam.context(check, seed=seed)
    session = exam.timed(
        "open",
        1,
        lambda: exam.call(
            check, "open()", _GIVES, stage.open, DenoiseClip(duration=len(waveform) / SPEECH_RATE), context
        ),
    )
    exam.has(check, "what open() gave", session, ("denoise", "finish", "close"), _GIVES)
    parts: list[Float] = []
    kept: list[Float] = []
    at, turn = 0, 0
    while at < len(waveform) or turn < len(sizes):
        chunk = waveform[at : at + sizes[turn % len(sizes)]].copy()
        at, turn = at + len(chunk), turn + 1
        parts.append(_part(exam, check, "denoise()", session.denoise, chunk))
        kept.append(parts[-1].copy())
        if at >= len(waveform) and turn >= len(sizes):
            break
    given = sum(map(len, parts))
    if given > at:
        exam.problem(check, f"denoise() gave {given} samples when it had been given {at}", _LENGTH)
    kept.append(_part(exam, check, "finish()", session.finish).copy())
    if not all(same_values(part, copy) for part, copy in zip(parts, kept, strict=False)):
        exam.problem("chunks", "a later call of denoise() changed what an earlier one had given", _KEPT)
    if check == "result":
        exam.check_close(session)
    else:
        exam.close(check, session)
    result = np.concatenate(kept)
    if len(result) != len(waveform):
        exam.problem("length", f"{len(waveform)} samples went in, {len(result)} came out after finish()", _LENGTH)
        raise StopCheckError
    if wrong := out_of_range(result, -1.0, 1.0):
        exam.problem(check, f"the sound {wrong}", _GIVES)
    return result


def _part(exam: Examination, check: str, what: str, function: Any, *arguments: Float) -> Float:
    try:
        given = exam.tried(what, function, *arguments)
    except CallError as failed:
        where = f" for a chunk of {len(arguments[0])} samples" if arguments else ""
        exam.raised(check, what, failed, where, _CHUNK if arguments and len(arguments[0]) < 8 else _GIVES)
        raise StopCheckError from failed
    if wrong := misfit(given, np.float32, (None,), "[N]"):
        exam.problem(check, f"{what} {wrong}", _GIVES)
        raise StopCheckError
    return given


def _look_at_place(exam: Examination, waveform: Float, result: Float) -> None:
    """Whether what comes out lies where it went in."""
    with exam.check("length"):
        reach = 400
        middle = slice(reach, len(waveform) - reach)
        if not np.abs(result).max(initial=0) > _SILENT:
            exam.skip("delay", "nothing of the kit's sound is left, so that no delay can be seen")
            return
        lags = range(-reach, reach + 1, 5)
        fits = [float(np.dot(waveform[middle], result[reach + lag : len(result) - reach + lag])) for lag in lags]
        lag = lags[int(np.argmax(fits))]
        if abs(lag) > 40 and max(fits) > 1.05 * max(fits[len(fits) // 2], 0.0):
            exam.problem("length", f"the sound comes {abs(lag) / 16:.0f} ms {'late' if lag > 0 else 'early'}", _LENGTH)


def _repeated(exam: Examination, stage: Any, waveform: Float, whole: Float) -> None:
    """Other chunks, another state of the global generators; what differs is then looked into."""
    seed_generators(2)
    with exam.check("chunks"):
        again = _denoised(exam, stage, "chunks", waveform, (1, 0, 333, 4096, 20001))
        if not (found := _apart(whole, again)):
            for name in ("repeatable", "seed"):
                with exam.check(name):
                    pass
            return
        for name, seed in (("repeatable", 1), ("seed", 2)):
            seed_generators(seed)
            if other := _apart(whole, _denoised(exam, stage, name, waveform, (SPEECH_RATE,))):
                words = (
                    "two sessions with the same input differ"
                    if name == "repeatable"
                    else ("another state of the global random generators changes it")
                )
                exam.problem(name, f"{words}: {other}", _REPEATABLE if name == "repeatable" else _GLOBAL)
                raise StopCheckError
        exam.problem("chunks", f"other chunks of the same sound give another result: {found}", _CHUNKS)


def _apart(one: Float, other: Float) -> str:
    return difference([{"sound": one}], [{"sound": other}], [0]).replace(" of frame 0", "")


def _silence(exam: Examination, stage: Any) -> None:
    result = _denoised(exam, stage, "silence", np.zeros(2 * SPEECH_RATE + 5, np.float32), (SPEECH_RATE,))
    loudest = float(np.abs(result).max(initial=0))
    if loudest > _SILENT:
        exam.problem("silence", f"silence comes out with samples of up to {loudest:.3f}", _SILENCE)


def _memory(exam: Examination, stage: Any) -> None:
    """What stays allocated after four times the sound is held against what the sound takes."""
    with counted():
        clip = DenoiseClip(duration=60.0)
        session = exam.call("memory", "open()", _GIVES, stage.open, clip, exam.context("memory"))
        kept: list[int] = []
        chunk = sound(1.0)
        for second in range(4 * _WARM):
            _part(exam, "memory", "denoise()", session.denoise, chunk.copy())
            if second + 1 in (_WARM, 4 * _WARM):
                kept.append(held())
        grown, more = kept[1] - kept[0], 3 * _WARM
        if grown > _SHARE * chunk.nbytes * more + _SLACK:
            exam.problem(
                "memory",
                f"holds {grown / more / 1024:.0f} kB more for each further second (it takes {chunk.nbytes // 1024} kB)",
                _MEMORY,
            )
        exam.close("memory", session)
