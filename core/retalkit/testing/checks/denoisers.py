"""Checks for denoisers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retalkit.stages import SPEECH_RATE, DenoiseClip
from retalkit.testing.checks.values import array_error, first_difference, range_error
from retalkit.testing.examination import CallError, Examination, StopCheckError, same_values
from retalkit.testing.fixtures.upstream import sound
from retalkit.testing.isolation.allocations import allocated_bytes, trace_allocations
from retalkit.testing.isolation.sandbox import seed_generators

Float = NDArray[np.float32]

_SECONDS: Final = 6.3
"""Duration of the test audio in seconds. The duration is not a multiple of common block sizes."""
_SLOW: Final = 0.3
"""Processing time in seconds per second of audio. The memory check is skipped for slower denoisers."""
_WARM: Final = 16
"""Audio duration in seconds before the first memory measurement. Some denoisers have a long look-ahead."""
_SHARE: Final = 0.5
_SLACK: Final = 1 << 19
_SILENT: Final = 1e-3

_RESULT = "denoise() and finish() must return mono float32 arrays [N] with values in [-1, 1]."
_LENGTH = "The concatenated output chunks must have the input's length and no delay."
_CHUNKS = "The result must not depend on how the audio is divided into chunks."
_REPEATABLE = "Identical inputs, options and seeds must produce bit-identical results."
_GLOBAL = "Results must not depend on process-wide random generators. Use a generator seeded with StageContext.seed."
_CHUNK = "A chunk may have any length, including 0. For an empty chunk, return an empty array or pending samples."
_KEPT = "Returned arrays must not change later. Return a new array for every chunk instead of a shared buffer."
_SEED: Final = 20_000_003
_SILENCE = "A denoiser must not add audio. Silent input must produce silent output."
_MEMORY = "Peak memory must not depend on the duration of the audio."


def check_denoiser_stage(exam: Examination, stage: Any) -> None:
    """Run all denoiser checks on a constructed stage and record the results in ``exam``."""
    waveform = sound(_SECONDS)
    seed_generators(1)
    results: list[Float] = []
    seconds = 0.0
    with exam.check("result"):
        start = time.perf_counter()
        results.append(_denoise(exam, stage, "result", waveform, (SPEECH_RATE,)))
        seconds = (time.perf_counter() - start) / _SECONDS
        exam.record_seconds("second of audio", seconds)
    if not results:
        names = ("length", "repeatable", "chunks", "seed", "short", "silence", "memory", "networks")
        exam.skip(names, "the first session returned no valid result: fix `result` first")
        return
    _check_length(exam, waveform, results[0])
    _check_repetition(exam, stage, waveform, results[0])
    with exam.check("seed"):
        one, other = (_denoise(exam, stage, "seed", waveform[:SPEECH_RATE], (5000,), _SEED) for _ in range(2))
        if found := _difference(one, other):
            exam.problem(
                "seed", f"two sessions with StageContext.seed = {_SEED} return different results: {found}", _REPEATABLE
            )
    with exam.check("short"):
        for length in (0, 1, 7):
            _denoise(exam, stage, "short", waveform[:length], (SPEECH_RATE,))
    with exam.check("silence"):
        _check_silence(exam, stage)
    if seconds > _SLOW:
        exam.skip(
            ("memory",), f"processing takes {seconds:.1f} s per second of audio, which is too slow for this check"
        )
    else:
        with exam.check("memory"):
            _check_memory(exam, stage)
    exam.check_late_loading(lambda scratch: _denoise_one_chunk(scratch, stage, waveform[:SPEECH_RATE]))
    exam.check_networks()


def _denoise_one_chunk(exam: Examination, stage: Any, waveform: Float) -> None:
    clip = DenoiseClip(duration=len(waveform) / SPEECH_RATE)
    session = exam.run("open()", stage.open, clip, exam.context("networks"))
    exam.run("denoise()", session.denoise, waveform.copy())
    exam.run("finish()", session.finish)
    exam.close("networks", session)


def _denoise(exam: Examination, stage: Any, check: str, waveform: Float, sizes: Sequence[int], seed: int = 0) -> Float:
    """Return the output of a new session whose input chunk sizes cycle through ``sizes``. A chunk may be empty."""
    session = exam.timed("open", lambda: _open(exam, stage, check, len(waveform) / SPEECH_RATE, seed))
    exam.require_methods(check, "the session", session, ("denoise", "finish", "close"), _RESULT)
    parts: list[Float] = []
    kept: list[Float] = []
    at, turn = 0, 0
    while at < len(waveform) or turn < len(sizes):
        chunk = waveform[at : at + sizes[turn % len(sizes)]].copy()
        at, turn = at + len(chunk), turn + 1
        parts.append(_call(exam, check, "denoise()", session.denoise, chunk))
        kept.append(parts[-1].copy())
        if at >= len(waveform) and turn >= len(sizes):
            break
    returned = sum(map(len, parts))
    if returned > at:
        exam.problem(check, f"denoise() returned {returned} samples for {at} input samples", _LENGTH)
    kept.append(_call(exam, check, "finish()", session.finish).copy())
    if not all(same_values(part, copy) for part, copy in zip(parts, kept, strict=False)):
        exam.problem("chunks", "a later call of denoise() modified the result of an earlier call", _KEPT)
    if check == "result":
        exam.check_close(session)
    else:
        exam.close(check, session)
    result = np.concatenate(kept)
    if len(result) != len(waveform):
        exam.problem(
            "length",
            f"the input has {len(waveform)} samples, but the output after finish() has {len(result)} samples",
            _LENGTH,
        )
        raise StopCheckError
    if wrong := range_error(result, -1.0, 1.0):
        exam.problem(check, f"the result {wrong}", _RESULT)
    return result


def _open(exam: Examination, stage: Any, check: str, duration: float, seed: int = 0) -> Any:
    context = exam.context(check, seed=seed)
    try:
        return exam.call_open("open()", lambda: stage.open(DenoiseClip(duration=duration), context))
    except CallError as failed:
        exam.record_exception(check, "open()", failed, "", _RESULT)
        raise StopCheckError from failed


def _call(exam: Examination, check: str, what: str, function: Callable[..., Any], *arguments: Any) -> Float:
    """Call ``function``, validate the returned chunk and return it. Record any exception as a problem of ``check``."""
    try:
        result = exam.run(what, function, *arguments)
    except CallError as failed:
        where = f" for a chunk of {len(arguments[0])} samples" if arguments else ""
        exam.record_exception(check, what, failed, where, _CHUNK if arguments and len(arguments[0]) < 8 else _RESULT)
        raise StopCheckError from failed
    if wrong := array_error(result, np.float32, (None,), "[N]"):
        exam.problem(check, f"the result of {what} {wrong}", _RESULT)
        raise StopCheckError
    return result


def _check_length(exam: Examination, waveform: Float, result: Float) -> None:
    """Check that the output is neither delayed nor advanced relative to the input."""
    with exam.check("length"):
        reach = 400
        middle = slice(reach, len(waveform) - reach)
        if not np.abs(result).max(initial=0) > _SILENT:
            exam.skip(("length",), "the result is silent, so its delay cannot be measured")
            return
        lags = range(-reach, reach + 1, 5)
        fits = [float(np.dot(waveform[middle], result[reach + lag : len(result) - reach + lag])) for lag in lags]
        lag = lags[int(np.argmax(fits))]
        if abs(lag) > 40 and max(fits) > 1.05 * max(fits[len(fits) // 2], 0.0):
            exam.problem("length", f"the output is {abs(lag) / 16:.0f} ms {'late' if lag > 0 else 'early'}", _LENGTH)


def _check_repetition(exam: Examination, stage: Any, waveform: Float, whole: Float) -> None:
    """Run the stage with different chunk sizes and global generator states, and determine the cause of any difference
    in the results."""
    seed_generators(2)
    with exam.check("chunks"):
        again = _denoise(exam, stage, "chunks", waveform, (1, 0, 333, 4096, 20001))
        if not (found := _difference(whole, again)):
            with exam.check("repeatable"):
                pass
            return
        for name, seed in (("repeatable", 1), ("seed", 2)):
            seed_generators(seed)
            if other := _difference(whole, _denoise(exam, stage, name, waveform, (SPEECH_RATE,))):
                repeatable = name == "repeatable"
                cause = (
                    "two sessions with identical input return different results"
                    if repeatable
                    else "the state of the process-wide random generators affects the result"
                )
                exam.problem(name, f"{cause}: {other}", _REPEATABLE if repeatable else _GLOBAL)
                raise StopCheckError
        exam.problem("chunks", f"different chunk sizes produce different results for identical audio: {found}", _CHUNKS)


def _difference(one: Float, other: Float) -> str:
    return first_difference([{"audio": one}], [{"audio": other}], [0]).replace(" of frame 0", "")


def _check_silence(exam: Examination, stage: Any) -> None:
    result = _denoise(exam, stage, "silence", np.zeros(2 * SPEECH_RATE + 5, np.float32), (SPEECH_RATE,))
    loudest = float(np.abs(result).max(initial=0))
    if loudest > _SILENT:
        exam.problem("silence", f"silent input produces samples with a magnitude of up to {loudest:.3f}", _SILENCE)


def _check_memory(exam: Examination, stage: Any) -> None:
    """Check that memory growth is small compared with the size of the audio when the audio duration is quadrupled."""
    with trace_allocations():
        session = _open(exam, stage, "memory", 60.0)
        kept: list[int] = []
        chunk = sound(1.0)
        for second in range(4 * _WARM):
            _call(exam, "memory", "denoise()", session.denoise, chunk.copy())
            if second + 1 in (_WARM, 4 * _WARM):
                kept.append(allocated_bytes())
        grown, more = kept[1] - kept[0], 3 * _WARM
        if grown > _SHARE * chunk.nbytes * more + _SLACK:
            each, size = grown / more / 1024, chunk.nbytes // 1024
            exam.problem(
                "memory",
                f"memory grows by {each:.0f} kB per second of audio (size of one second: {size} kB)",
                _MEMORY,
            )
        exam.close("memory", session)
