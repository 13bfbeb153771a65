"""Quality gates: facts about a finished output, compared with limits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from retalkit.batch.gate_results import EDGE, GateResult, mask_of, runs_of, verdict_of
from retalkit.batch.mouth_gates import TrackedOutput, check_lips, check_silence
from retalkit.batch.source_gate import check_source
from retalkit.errors import InputError
from retalkit.media.containers import file_url
from retalkit.media.sources import open_source
from retalkit.pipeline.face_job import NO_FACE, OUTSIDE_CUES, UNKNOWN_PERSON
from retalkit.pipeline.record import record_path
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.registry import Registry

_LOST: Final = (NO_FACE, UNKNOWN_PERSON)


def evaluate_gates(
    limits: Mapping[str, float | None], output: Path, steps: ClipSteps, registry: Registry, job: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the result of every gate that is not off, as JSON-compatible data.

    ``steps``: steps of the run that made the output. ``job``: payload of the job. Raises InputError if the output or
    its run record cannot be read.
    """
    wanted = {name: limit for name, limit in limits.items() if limit is not None}
    if not wanted:
        return []
    path = record_path(output)
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read the run record: {error}", code="unreadable-file") from error
    source = open_source(output)
    times = source.times(0, source.info.frame_count)
    source.close()
    results: list[GateResult] = []
    if (limit := wanted.get("drift")) is not None:
        results.append(_drift(output, limit, len(times)))
    if (limit := wanted.get("edited")) is not None:
        results.append(_edited(record, limit, times))
    if (limit := wanted.get("face_lost")) is not None:
        results.append(_face_lost(record, limit, times))
    if (limit := wanted.get("damaged")) is not None:
        results += check_source(Path(job["video"]), record, _path(job["speech"]), steps, limit, len(times))
    tracked = TrackedOutput(output, record, steps, registry, job)
    if (limit := wanted.get("silence")) is not None:
        results.append(check_silence(tracked, limit, times))
    if (limit := wanted.get("lips")) is not None and (job["reference"] or job["transcript"]):
        results.append(check_lips(tracked, limit, times))
    return [
        asdict(replace(each, seconds=[round(float(times[first]), 4) for first, _ in each.frames])) for each in results
    ]


def _drift(output: Path, limit: float, frames: int) -> GateResult:
    with av.open(file_url(output)) as container:
        video = container.streams.video[0]
        if not container.streams.audio:
            return GateResult(gate="drift", verdict="review", limit=limit, text="the output has no audio track")
        spans: list[tuple[float, float]] = []
        for stream in (video, container.streams.audio[0]):
            base = float(stream.time_base or 0)
            start = max(float(stream.start_time or 0) * base, 0.0)
            whole = float(container.duration or 0) / av.time_base
            length = whole - start if stream.duration is None else float(stream.duration) * base
            spans.append((start, start + length))
        rate = float(video.average_rate or 25)
    (video_start, video_end), (audio_start, audio_end) = spans
    first, last = (audio_start - video_start) * rate, (audio_end - video_end) * rate
    value = max(abs(first), abs(last))
    where = [[0, 0]] if abs(first) >= abs(last) else [[max(frames - 1, 0), max(frames - 1, 0)]]
    text = f"audio starts {first:+.2f} and ends {last:+.2f} frames after the video"
    good = value <= limit + EDGE
    return GateResult(
        gate="drift",
        verdict=verdict_of(good),
        value=round(value, 3),
        limit=limit,
        text=text,
        frames=[] if good else where,
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _counts(record: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of edited frames, and of frames that the run was asked to edit."""
    passed = sum(count for reason, count in record["frames_passed"].items() if reason != OUTSIDE_CUES)
    edited = int(record["frames_edited"])
    return edited, edited + int(passed)


def _edited(record: Mapping[str, Any], limit: float, times: NDArray[np.float64]) -> GateResult:
    edited, total = _counts(record)
    value = edited / total if total else 0.0
    good = value >= limit - EDGE
    frames = [] if good else _frame_ranges(_unedited(record, None), times)
    text = f"{edited} of {total} frames are edited"
    return GateResult(
        gate="edited", verdict=verdict_of(good), value=round(value, 4), limit=limit, text=text, frames=frames
    )


def _face_lost(record: Mapping[str, Any], limit: float, times: NDArray[np.float64]) -> GateResult:
    _, total = _counts(record)
    mask = mask_of(_unedited(record, _LOST), times)
    value = float(mask.sum()) / total if total else 0.0
    good = value <= limit + EDGE
    text = f"no usable face in {int(mask.sum())} of {total} frames"
    frames = [] if good else runs_of(mask)
    return GateResult(
        gate="face_lost", verdict=verdict_of(good), value=round(value, 4), limit=limit, text=text, frames=frames
    )


def _unedited(record: Mapping[str, Any], reasons: Sequence[str] | None) -> list[list[float]]:
    entries = [each for each in record["unedited"] if reasons is None or each["reason"] in reasons]
    return [part for each in entries for part in each["ranges"]]


def _frame_ranges(ranges: Iterable[Sequence[float]], times: NDArray[np.float64]) -> list[list[int]]:
    return runs_of(mask_of(ranges, times))
