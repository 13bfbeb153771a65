"""Quality gates: facts about a finished output, compared with limits."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import av
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from retalkit.errors import InputError, RetalkitError
from retalkit.geometry import mesh_space
from retalkit.media.containers import file_url
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.metrics.open_scene import SceneOpener
from retalkit.metrics.scoring import score
from retalkit.motion_eval.agreement import GRID_RATE, agreement, predict_motion
from retalkit.motion_eval.clips import measure_lips
from retalkit.observer import SilentObserver
from retalkit.pipeline.face_job import NO_FACE, OUTSIDE_CUES, UNKNOWN_PERSON
from retalkit.pipeline.keys import speech_key
from retalkit.pipeline.record import record_path
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.metric_specs import LANDMARKS, LIPS
from retalkit.plugins.registry import Registry
from retalkit.speech.speech_track import SpeechPiece, SpeechTrack
from retalkit.stages import Analysis, Runtime
from retalkit.storage.cache import content_hash

Verdict = Literal["passed", "review", "not measured"]
_LOST: Final = (NO_FACE, UNKNOWN_PERSON)
_QUIET_MARGIN: Final = 4
"""Number of values at 25 Hz next to speech that are not evaluated. Two of them are in the window of ``_MOTION_WINDOW``,
and two allow for the rounding of times to frames."""
_MOTION_WINDOW: Final = 5
"""Number of values at 25 Hz over which the range of the mouth opening is measured."""
MOVING: Final = 1.0
"""Range of the mouth opening within 0.2 s above which a mouth moves, in % of the face height. The 98th percentile of a
person who does not speak was 0.13 %, and the medians of four speaking people were 1.3 to 3.3 %."""
_MIN_QUIET: Final = 5
_EDGE: Final = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """Result of one gate for one output."""

    gate: str
    verdict: Verdict
    value: float | None = None
    limit: float | None = None
    text: str = ""
    """What was measured, or the reason why it was not measured."""
    frames: list[list[int]] = field(default_factory=list[list[int]])
    """Ranges [first, last] of the output frames that need review, both inclusive."""


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
    tracked = _Tracked(output, record, steps, registry, job)
    if (limit := wanted.get("silence")) is not None:
        results.append(_silence(tracked, limit, times))
    if (limit := wanted.get("lips")) is not None and (job["reference"] or job["transcript"]):
        results.append(_lips(tracked, limit, job))
    return [asdict(each) for each in results]


def needs_review(results: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether any gate's result exceeds its limit."""
    return any(each["verdict"] == "review" for each in results)


def _verdict(is_good: bool) -> Verdict:
    return "passed" if is_good else "review"


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
    good = value <= limit + _EDGE
    return GateResult(
        gate="drift",
        verdict=_verdict(good),
        value=round(value, 3),
        limit=limit,
        text=text,
        frames=[] if good else where,
    )


def _counts(record: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of edited frames, and of frames that the run was asked to edit."""
    passed = sum(count for reason, count in record["frames_passed"].items() if reason != OUTSIDE_CUES)
    edited = int(record["frames_edited"])
    return edited, edited + int(passed)


def _edited(record: Mapping[str, Any], limit: float, times: NDArray[np.float64]) -> GateResult:
    edited, total = _counts(record)
    value = edited / total if total else 0.0
    good = value >= limit - _EDGE
    frames = [] if good else _frame_ranges(_unedited(record, None), times)
    text = f"{edited} of {total} frames are edited"
    return GateResult(
        gate="edited", verdict=_verdict(good), value=round(value, 4), limit=limit, text=text, frames=frames
    )


def _face_lost(record: Mapping[str, Any], limit: float, times: NDArray[np.float64]) -> GateResult:
    _, total = _counts(record)
    mask = _mask(_unedited(record, _LOST), times)
    value = float(mask.sum()) / total if total else 0.0
    good = value <= limit + _EDGE
    text = f"no usable face in {int(mask.sum())} of {total} frames"
    frames = [] if good else _runs(mask)
    return GateResult(
        gate="face_lost", verdict=_verdict(good), value=round(value, 4), limit=limit, text=text, frames=frames
    )


class _Tracked:
    """Output with its tracked face and its speech, which are prepared on demand."""

    def __init__(
        self,
        output: Path,
        record: Mapping[str, Any],
        steps: ClipSteps,
        registry: Registry,
        job: Mapping[str, Any],
    ) -> None:
        self.output, self.record, self.steps, self.registry, self.job = output, record, steps, registry, job
        self.persons = len({entry["person"] for entry in record["cues"]})

    def opener(self) -> SceneOpener:
        return SceneOpener(self.registry, self.steps.cache, SilentObserver(), self.steps.pool)

    def speech(self) -> SpeechTrack:
        """Return the speech at its places in the output."""
        cues: Sequence[Mapping[str, Any]] = self.record["cues"]
        if not cues:
            return self._prepared(Path(self.job["speech"]))
        prepared = {path: self._prepared(Path(path)) for path in {str(cue["speech"]) for cue in cues}}
        duration = float(self.record["output_seconds"])
        pieces = [
            SpeechPiece(prepared[str(cue["speech"])], float(cue["from"]), float(cue["to"]), float(cue["offset"]))
            for cue in cues
        ]
        return SpeechTrack.assemble(pieces, duration)

    def _prepared(self, path: Path) -> SpeechTrack:
        return self.steps.speech(open_sound(path), speech_key(self.steps.plan, content_hash(path)))


def _silence(tracked: _Tracked, limit: float, times: NDArray[np.float64]) -> GateResult:
    def skipped(reason: str) -> GateResult:
        return GateResult(gate="silence", verdict="not measured", limit=limit, text=reason)

    if tracked.persons > 1:
        return skipped("several persons speak, and only the largest face of the output is tracked")
    try:
        analysis = tracked.opener().track(tracked.output)
    except InputError as error:
        return GateResult(gate="silence", verdict="review", limit=limit, text=str(error))
    opening = measure_lips(analysis).opening
    grid = np.arange(len(opening)) / GRID_RATE
    quiet = tracked.speech().activity(grid) <= 0
    quiet = ~_widened(~quiet, _QUIET_MARGIN)
    edits = [part for person in tracked.record["edits"] for part in person["ranges"]]
    quiet &= _mask(edits, grid)
    height = _face_height(analysis)
    ranges = _local_range(opening) * 100.0 / height
    seen = quiet & np.isfinite(ranges)
    if int(seen.sum()) < _MIN_QUIET:
        return skipped("the edited frames contain no sufficiently long pause of the speech")
    moving = seen & (ranges > MOVING)
    value = float(moving.sum() / seen.sum())
    good = value <= limit + _EDGE
    frames: list[list[int]] = []
    if not good:
        nearest = np.clip(np.searchsorted(grid, times + 1e-6, side="right") - 1, 0, len(grid) - 1)
        frames = _runs(moving[nearest])
    seconds = seen.sum() / GRID_RATE
    text = f"the mouth moves in {moving.sum() / GRID_RATE:.2f} of {seconds:.2f} s without speech"
    return GateResult(
        gate="silence", verdict=_verdict(good), value=round(value, 4), limit=limit, text=text, frames=frames
    )


def _lips(tracked: _Tracked, limit: float, job: Mapping[str, Any]) -> GateResult:
    if tracked.record["cues"]:
        text = "a reference and a transcript describe a whole speech, but the job has cues"
        return GateResult(gate="lips", verdict="not measured", limit=limit, text=text)
    try:
        value, text = _lip_agreement(tracked, job)
    except RetalkitError as error:
        return GateResult(gate="lips", verdict="review", limit=limit, text=" ".join(str(error).split()))
    if not math.isfinite(value):
        text = f"{text}: undefined, because the lips do not move or the overlap is too short"
        return GateResult(gate="lips", verdict="not measured", limit=limit, text=text)
    good = value >= limit - _EDGE
    return GateResult(gate="lips", verdict=_verdict(good), value=round(value, 4), limit=limit, text=text)


def _lip_agreement(tracked: _Tracked, job: Mapping[str, Any]) -> tuple[float, str]:
    """Return the correlation of the output's mouth opening, and what it was compared with."""
    opener = tracked.opener()
    if job["reference"]:
        found = tracked.registry.metric("lips")
        scene = opener.scene(tracked.output, frozenset({LANDMARKS, LIPS}), reference=Path(job["reference"]))
        result = score(scene, [found], SilentObserver())["lips"]
        if result.error or result.skip_reason:
            raise InputError(f"{tracked.output}: {result.error or result.skip_reason}", code="not-measured")
        return result.scores["opening_r"], "correlation of the mouth opening with the reference video"
    stage, config = tracked.steps.plan.lip_syncer, tracked.steps.plan.config
    runtime = Runtime(
        device=config.device,
        precision=config.precision,
        threads=config.threads,
        inference=config.inference,
        weights=stage.weights,
        pool=tracked.steps.pool,
    )
    driver = next(iter(stage.drivers.values())).make(runtime)
    lips = measure_lips(opener.track(tracked.output))
    motion = predict_motion(driver, tracked.speech(), lips)
    return agreement(
        lips, motion
    ).opening, "correlation of the mouth opening with the motion that the transcript predicts"


def _face_height(analysis: Analysis) -> float:
    heights = analysis.coefficients(0, analysis.source.info.frame_count)[:, mesh_space.FACE_HEIGHT]
    finite = heights[np.isfinite(heights)]
    return float(np.median(finite)) if len(finite) else float("nan")


def _local_range(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the range of the values around each value, which is NaN next to missing values."""
    half = _MOTION_WINDOW // 2
    windows = sliding_window_view(np.pad(values, half, mode="edge"), _MOTION_WINDOW)
    return windows.max(axis=1) - windows.min(axis=1)


def _widened(mask: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    padded = np.pad(mask, count)
    return sliding_window_view(padded, 2 * count + 1).any(axis=1)


def _unedited(record: Mapping[str, Any], reasons: Sequence[str] | None) -> list[list[float]]:
    entries = [each for each in record["unedited"] if reasons is None or each["reason"] in reasons]
    return [part for each in entries for part in each["ranges"]]


def _mask(ranges: Iterable[Sequence[float]], times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which times are in one of the ranges [start, end) in seconds, bool [T]."""
    mask = np.zeros(len(times), np.bool_)
    for start, end in ranges:
        mask |= (times >= start - _EDGE) & (times < end - _EDGE)
    return mask


def _frame_ranges(ranges: Iterable[Sequence[float]], times: NDArray[np.float64]) -> list[list[int]]:
    return _runs(_mask(ranges, times))


def _runs(mask: NDArray[np.bool_]) -> list[list[int]]:
    """Return the first and last index of each run of True values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [[int(first), int(stop) - 1] for first, stop in zip(edges[::2], edges[1::2], strict=True)]
