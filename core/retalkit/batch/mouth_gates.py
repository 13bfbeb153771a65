"""Quality gates that track the face in the output: motion in silence, and agreement of the lips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from retalkit.batch.gate_results import EDGE, GateResult, Verdict, mask_of, runs_of, verdict_of
from retalkit.errors import InputError, RetalkitError
from retalkit.geometry import mesh_space
from retalkit.media.sound import open_sound
from retalkit.metrics.open_scene import SceneOpener
from retalkit.metrics.scoring import score
from retalkit.motion_eval.agreement import (
    GRID_RATE,
    LAGS,
    MAX_OFFSET,
    Lips,
    Motion,
    agreement,
    correlation,
    estimate_offset,
    predict_motion,
)
from retalkit.motion_eval.clips import measure_lips
from retalkit.observer import SilentObserver
from retalkit.pipeline.keys import speech_key
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.metric_specs import LANDMARKS, LIPS
from retalkit.plugins.registry import Registry
from retalkit.speech.speech_track import SpeechPiece, SpeechTrack
from retalkit.stages import Analysis, DriverWithNotes, Runtime, SpeechToMouth
from retalkit.storage.cache import content_hash

_QUIET_MARGIN: Final = 4
"""Number of values at 25 Hz next to speech that are not evaluated. Two of them are in the window of ``_MOTION_WINDOW``,
and two allow for the rounding of times to frames."""
_MOTION_WINDOW: Final = 5
"""Number of values at 25 Hz over which the range of the mouth opening is measured."""
MOVING: Final = 1.0
"""Range of the mouth opening within 0.2 s above which a mouth moves, in % of the face height. The 98th percentile of a
person who does not speak was 0.13 %, and the medians of four speaking people were 1.3 to 3.3 %."""
_MIN_QUIET: Final = 5
_WINDOW: Final = 25
"""Number of values at 25 Hz for which the correlation of the lips is evaluated separately."""


class TrackedOutput:
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

    def reference_score(self, reference: Path) -> float:
        """Return the correlation of the mouth opening with the lips in a video. Raises InputError if it fails."""
        found = self.registry.metric("lips")
        scene = self.opener().scene(self.output, frozenset({LANDMARKS, LIPS}), reference=reference)
        result = score(scene, [found], SilentObserver())["lips"]
        if result.error or result.skip_reason:
            raise InputError(f"{self.output}: {result.error or result.skip_reason}", code="not-measured")
        return result.scores["opening_r"]

    def driver(self) -> tuple[SpeechToMouth, str]:
        """Return the driver of the run, and the reason why the driver ignores the transcript, or an empty string."""
        stage, config = self.steps.plan.lip_syncer, self.steps.plan.config
        runtime = Runtime(
            device=config.device,
            precision=config.precision,
            threads=config.threads,
            inference=config.inference,
            weights=stage.weights,
            pool=self.steps.pool,
        )
        planned = next(iter(stage.drivers.values()))
        driver, speech = planned.make(runtime), self.speech()
        plain = replace(planned, config=planned.config.model_copy(update={"transcript": None})).make(runtime)
        times = np.arange(math.ceil(speech.duration * GRID_RATE)) / GRID_RATE
        guided, unguided = driver.motion(speech, times), plain.motion(speech, times)
        if not (np.array_equal(guided.opening, unguided.opening) and np.array_equal(guided.closure, unguided.closure)):
            return driver, ""
        notes = driver.notes(speech) if isinstance(driver, DriverWithNotes) else ()
        return driver, "; ".join(notes) or "the transcript does not affect the mouth"

    def _prepared(self, path: Path) -> SpeechTrack:
        return self.steps.speech(open_sound(path), speech_key(self.steps.plan, content_hash(path)))


def check_silence(tracked: TrackedOutput, limit: float, times: NDArray[np.float64]) -> GateResult:
    """Measure the motion of the mouth in the pauses of the speech. ``times``: times of the output frames in seconds,
    float64 [T]."""

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
    quiet &= mask_of(edits, grid)
    height = _face_height(analysis)
    ranges = _local_range(opening) * 100.0 / height
    seen = quiet & np.isfinite(ranges)
    if int(seen.sum()) < _MIN_QUIET:
        return skipped("the edited frames contain no sufficiently long pause of the speech")
    moving = seen & (ranges > MOVING)
    value = float(moving.sum() / seen.sum())
    good = value <= limit + EDGE
    frames: list[list[int]] = []
    if not good:
        frames = runs_of(moving[nearest_values(times, len(grid))])
    seconds = seen.sum() / GRID_RATE
    text = f"the mouth moves in {moving.sum() / GRID_RATE:.2f} of {seconds:.2f} s without speech"
    return GateResult(
        gate="silence", verdict=verdict_of(good), value=round(value, 4), limit=limit, text=text, frames=frames
    )


def check_lips(tracked: TrackedOutput, limit: float, times: NDArray[np.float64]) -> GateResult:
    """Compare the mouth opening with the reference video of the job, or with the motion that its transcript predicts.

    ``times``: times of the output frames in seconds, float64 [T].
    """

    def other(verdict: Verdict, text: str) -> GateResult:
        return GateResult(gate="lips", verdict=verdict, limit=limit, text=" ".join(text.split()))

    if tracked.record["cues"]:
        return other("not measured", "a reference and a transcript describe a whole speech, but the job has cues")
    reference = tracked.job["reference"]
    try:
        lips = measure_lips(tracked.opener().track(tracked.output))
        if reference:
            value, motion = (
                tracked.reference_score(Path(reference)),
                _as_motion(tracked, Path(reference), len(lips.opening)),
            )
        else:
            driver, unused = tracked.driver()
            if unused:
                return other("review", unused)
            motion = predict_motion(driver, tracked.speech(), lips)
            value = agreement(lips, motion).opening
    except RetalkitError as error:
        return other("review", str(error))
    compared = "the reference video" if reference else "the motion that the transcript predicts"
    text = f"correlation of the mouth opening with {compared} over {np.isfinite(lips.opening).sum() / GRID_RATE:.1f} s"
    if not math.isfinite(value):
        return other("not measured", f"{text}: undefined, because the lips do not move or the overlap is too short")
    good = value >= limit - EDGE
    frames = [] if good else _poor_frames(lips, motion, limit, times)
    return GateResult(
        gate="lips", verdict=verdict_of(good), value=round(value, 4), limit=limit, text=text, frames=frames
    )


def _as_motion(tracked: TrackedOutput, reference: Path, count: int) -> Motion:
    """Return the lips in a video as a motion for ``count`` values at 25 Hz. Values outside the video are NaN."""
    lips = measure_lips(tracked.opener().track(reference))
    margin = MAX_OFFSET + LAGS

    def padded(values: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.full(count + 2 * margin, np.nan)
        part = values[: count + margin]
        found[margin : margin + len(part)] = part
        return found

    opening = padded(lips.opening)
    return Motion(opening, padded(lips.width), opening, margin)


def _poor_frames(lips: Lips, motion: Motion, limit: float, times: NDArray[np.float64]) -> list[list[int]]:
    """Return the frames in windows of 1 s whose correlation is below the limit or undefined."""
    compared = motion.delayed(motion.opening, estimate_offset(lips, motion))
    poor = np.zeros(len(lips.opening), np.bool_)
    for start in range(0, max(len(poor) - _WINDOW, 0) + 1, _WINDOW // 5):
        window = slice(start, start + _WINDOW)
        value = correlation(lips.opening[window], compared[window])
        if not value >= limit:
            poor[window] = True
    return runs_of(poor[nearest_values(times, len(poor))])


def nearest_values(times: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the index of the latest of ``count`` values at 25 Hz at each time, int64 [T]."""
    return np.clip(np.floor(times * GRID_RATE + 1e-4).astype(np.int64), 0, count - 1)


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
