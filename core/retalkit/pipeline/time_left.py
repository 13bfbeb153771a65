"""Estimate of the time left in a run, based on the step times of earlier runs on this machine."""

from __future__ import annotations

import json
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from retalkit.observer import Observer, report_detail, report_time_left
from retalkit.pipeline.plan import Plan

HISTORY: Final = "step-times.json"
"""File in the cache directory with the step times of earlier runs."""
_KEPT: Final = 8
"""Number of measurements that are kept per step."""
_PRIORS: Final = {
    "speech": 0.05,
    "faces": 0.008,
    "tracks": 0.0001,
    "persons": 0.01,
    "coefficients": 0.0005,
    "references": 0.0001,
    "lips": 0.003,
    "render": 0.011,
    "layer": 0.05,
    "join": 0.0003,
}
"""Seconds per unit of each step with the default preset on two CPU cores, for a first run. Units are output frames,
source frames or seconds of speech."""
_UNKNOWN: Final = 0.01
_INTERVAL: Final = 0.25
"""Minimum interval in seconds between two reports."""
_RESUMED: Final = 0.25
"""Share of a step's units in its first report from which the step is treated as resumed."""
_RELIABLE: Final = 0.1
"""Share of a step that must be complete before its rate affects the estimates of later steps."""
_SMOOTHING: Final = 3.0
"""Minimum time constant in seconds with which the reported time follows the estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedStep:
    """Step that a run will execute."""

    name: str
    units: float
    """Number of units of one execution: frames, or seconds of audio."""
    key: str
    """Description of what determines the time per unit, such as the stage's name. Measurements of runs with the same
    key are used."""
    megapixels: float = 0.0
    """Frame size, if the time per unit depends on it."""
    count: int = 1
    """Number of executions, for example one per person."""


def expected_steps(
    plan: Plan,
    *,
    codec: str,
    source_frames: int,
    output_frames: int,
    speech_seconds: Sequence[float],
    size: tuple[int, int],
    persons: int = 1,
    layer: bool = False,
) -> list[ExpectedStep]:
    """Return the steps of a run. ``speech_seconds``: duration of each speech. ``size``: width and height in pixels."""
    mean = sum(speech_seconds) / max(len(speech_seconds), 1)
    megapixels = size[0] * size[1] / 1e6
    machine = f"{plan.config.device} {plan.config.inference} {plan.config.threads}"
    drivers = [driver.found.spec.name for driver in plan.lip_syncer.drivers.values()]
    lips = " ".join([plan.lip_syncer.found.spec.name, *drivers, machine])
    pixels = " ".join([lips, *(stage.found.spec.name for stage in plan.enhancers), codec])

    def step(name: str, units: float, key: str, *, per_pixel: bool = False, count: int = 1) -> ExpectedStep:
        return ExpectedStep(name=name, units=units, key=key, megapixels=megapixels if per_pixel else 0.0, count=count)

    return [
        step("speech", mean, f"{plan.denoiser.found.spec.name} {machine}", count=len(speech_seconds)),
        step("faces", source_frames, f"{plan.detector.found.spec.name} {machine}", per_pixel=True),
        step("tracks", source_frames, ""),
        step("coefficients", source_frames, f"{plan.reconstructor.found.spec.name} {machine}", count=persons),
        step("references", output_frames, f"{plan.expression_editor.found.spec.name} {machine}", count=persons),
        step("lips", output_frames, lips, count=persons),
        step("render", output_frames, f"{pixels} {persons}", per_pixel=True),
        *([step("layer", output_frames, "", per_pixel=True)] if layer else []),
        step("join", output_frames, codec, per_pixel=True),
    ]


class StepHistory:
    """Times of steps in earlier runs, stored in a JSON file. A damaged file is treated as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, list[list[float]]] = {}
        with suppress(OSError, ValueError, TypeError):
            data: Any = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(data, dict):
                for key, rows in cast("dict[str, Any]", data).items():
                    self._entries[key] = [[float(value) for value in row[:2]] for row in rows]

    def seconds_per_unit(self, step: ExpectedStep) -> float:
        """Return the expected time per unit in seconds."""
        measured = self._entries.get(f"{step.name} {step.key}", [])
        if not measured:
            return _PRIORS.get(step.name, _UNKNOWN)
        nearest = min(measured, key=lambda row: abs(math.log((row[0] + 0.1) / (step.megapixels + 0.1))))
        # Only a part of the work grows with the frame size.
        return nearest[1] * math.sqrt((step.megapixels + 0.1) / (nearest[0] + 0.1))

    def add(self, step: ExpectedStep, seconds: float, units: float) -> None:
        """Add the measured time of ``units`` units. Measurements of another frame size are kept."""
        rows = self._entries.setdefault(f"{step.name} {step.key}", [])
        rows[:] = [row for row in rows if abs(row[0] - step.megapixels) > 0.01][-(_KEPT - 1) :]
        rows.append([round(step.megapixels, 3), seconds / max(units, 1e-9)])

    def save(self) -> None:
        """Write the file atomically. A file that cannot be written is ignored, because only estimates depend on it."""
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
        with suppress(OSError):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_text(json.dumps(self._entries), encoding="utf-8")
                temporary.replace(self._path)
            finally:
                temporary.unlink(missing_ok=True)


@dataclass(slots=True)
class _Progress:
    expected: ExpectedStep
    predicted: float
    """Predicted seconds of one execution."""
    finished: int = 0
    start: float | None = None
    first: tuple[int, float] | None = None
    """Units and time at the first report, which may include units of an interrupted run."""
    done: int = 0
    total: float = 0.0


class TimeLeftObserver:
    """Observer that forwards all events and reports the time left to observers that implement
    ``retalkit.observer.TimeLeftReceiver``."""

    def __init__(self, outer: Observer, history: StepHistory, clock: Callable[[], float] = time.monotonic) -> None:
        self._outer = outer
        self._history = history
        self._clock = clock
        self._lock = threading.Lock()
        self._steps: dict[str, _Progress] = {}
        self._parallel: tuple[str, ...] = ()
        self._begin = clock()
        self._shown: float | None = None
        self._updated = self._begin
        self._reported = -math.inf
        self._log_speed: list[tuple[float, float]] = []
        """Predicted seconds, and logarithm of measured by predicted seconds, of each finished step."""

    def expect(self, steps: Sequence[ExpectedStep], parallel: Sequence[str] = ()) -> None:
        """Set the steps of the run in their order. The steps in ``parallel`` run at the same time as other steps."""
        with self._lock:
            for step in steps:
                predicted = self._history.seconds_per_unit(step) * step.units
                known = self._steps.get(step.name)
                self._steps[step.name] = _Progress(step, predicted) if known is None else known
            self._parallel = tuple(parallel)
        self._report(force=True)

    def started(self, step: str, total: int | None) -> None:
        with self._lock:
            progress = self._steps.get(step)
            if progress is not None:
                progress.start, progress.first, progress.done = self._clock(), None, 0
                progress.total = float(total or 0)
        self._outer.started(step, total)

    def advanced(self, step: str, done: int) -> None:
        with self._lock:
            progress = self._steps.get(step)
            if progress is not None:
                progress.first = progress.first or (done, self._clock())
                progress.done = done
        self._outer.advanced(step, done)
        self._report()

    def finished(self, step: str, seconds: float, cached: bool) -> None:
        with self._lock:
            progress = self._steps.get(step)
            if progress is not None and progress.start is not None:
                self._finish(progress, seconds, cached)
        self._outer.finished(step, seconds, cached)
        self._report(force=True)

    def complete(self) -> None:
        """Report that no time is left, and store the measured times for later runs."""
        report_time_left(self._outer, 0.0, 1.0)
        self._history.save()

    def note(self, text: str) -> None:
        self._outer.note(text)

    def artefact(self, name: str, path: Path) -> None:
        self._outer.artefact(name, path)

    def detail(self, text: str) -> None:
        report_detail(self._outer, text)

    def _finish(self, progress: _Progress, seconds: float, cached: bool) -> None:
        progress.finished += 1
        progress.start = None
        if cached:
            # The estimate was too high, so the smoothed value restarts.
            self._shown = None
            return
        # The first report of a resumed step includes the units of the interrupted run.
        if progress.first is not None and progress.first[0] > _RESUMED * progress.total:
            return
        if progress.predicted > 0 and seconds > 0:
            self._log_speed.append((progress.predicted, math.log(seconds / progress.predicted)))
        self._history.add(progress.expected, seconds, progress.expected.units)

    def _report(self, force: bool = False) -> None:
        with self._lock:
            now = self._clock()
            if not self._steps or (not force and now - self._reported < _INTERVAL):
                return
            estimate = self._estimate(now)
            if self._shown is None:
                self._shown = estimate
            else:
                passed = now - self._updated
                counted = max(self._shown - passed, 0.0)
                constant = max(_SMOOTHING, 0.1 * counted)
                self._shown = counted + (estimate - counted) * (1 - math.exp(-passed / constant))
            self._updated = self._reported = now
            left, spent = self._shown, now - self._begin
        report_time_left(self._outer, left, spent / max(spent + left, 1e-9))

    def _estimate(self, now: float) -> float:
        speed = self._speed(now)
        left = {name: self._step_left(progress, speed, now) for name, progress in self._steps.items()}
        # Parallel steps delay the run only by the time by which they exceed the steps that run at the same time.
        beside = ("faces", "tracks", "persons", "coefficients")
        alone = sum(seconds for name, seconds in left.items() if name not in (*self._parallel, *beside))
        return alone + max(
            sum(left[name] for name in self._parallel if name in left), sum(left.get(name, 0.0) for name in beside)
        )

    def _step_left(self, progress: _Progress, speed: float, now: float) -> float:
        waiting = progress.expected.count - progress.finished - (progress.start is not None)
        predicted = progress.predicted * speed
        left = max(waiting, 0) * predicted
        if progress.start is None:
            return left
        passed = now - progress.start
        if progress.total > 0 and progress.first is not None and progress.done > progress.first[0]:
            first, since = progress.first
            share = progress.done / progress.total
            measured = (now - since) / (progress.done - first) * (progress.total - progress.done)
            # The measured rate replaces the prediction gradually, because the first units are often slow.
            weight = min((progress.done - first) / progress.total / 0.2, 1.0)
            return left + weight * measured + (1 - weight) * predicted * (1 - share)
        if progress.total > 0 and progress.done:
            return left + predicted * (1 - progress.done / progress.total)
        return left + max(predicted - passed, 0.1 * predicted)

    def _speed(self, now: float) -> float:
        """Return how much slower this run is than predicted. Long steps count more than short ones."""
        found = list(self._log_speed)
        for progress in self._steps.values():
            if progress.start is None or progress.first is None or progress.predicted <= 0 or progress.total <= 0:
                continue
            first, since = progress.first
            share = (progress.done - first) / progress.total
            if share > _RELIABLE and now > since:
                found.append((progress.predicted * share, math.log((now - since) / share / progress.predicted)))
        weight = sum(predicted for predicted, _ in found)
        mean = sum(predicted * value for predicted, value in found) / (weight + 1.0)
        return min(max(math.exp(mean), 0.1), 10.0)
