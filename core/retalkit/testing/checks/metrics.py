"""Checks for metrics."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from retalkit.geometry.mesh_space import OPENING, WIDTH
from retalkit.metrics.scene import Scene, scored_frames
from retalkit.motion_eval.agreement import Lips
from retalkit.plugins.availability import metric_availability
from retalkit.plugins.metric_specs import FRAMES, LANDMARKS, LIPS, PORTS, MetricSpec
from retalkit.plugins.registry import FoundMetric
from retalkit.plugins.specs import incompatible_api
from retalkit.testing.checks.names import check_names
from retalkit.testing.checks.specs import check_build, check_field_types, check_ports, check_texts, heavy_imports
from retalkit.testing.examination import CallError, Examination, StopCheckError
from retalkit.testing.fixtures import material, upstream
from retalkit.testing.fixtures.clips import Clip
from retalkit.testing.isolation.allocations import allocated_bytes, trace_allocations
from retalkit.testing.isolation.sandbox import seed_generators
from retalkit.testing.report import Report
from retalkit.weights.store import WeightStore

_BUILD = "MetricSpec.build must create a metric without arguments and without processing a scene."
_METHODS = "A metric must have the method open(). See retalkit.metrics.scene."
_RESULT = "result() must return a number within the measure's range for each measure in the spec, or NaN if undefined."
_SAME = "Scoring one scene twice must return identical values."
_ADD = "add() must accept every frame of any scene that provides the ports in MetricSpec.needs."
_OPEN = "open() must accept every scene that provides the ports in MetricSpec.needs."
_SITUATIONS: Final = {
    "only_needs": "a scene that provides only the ports in MetricSpec.needs",
    "one_frame": "a video with a single frame",
    "odd_size": "167 x 121-pixel frames with half of the face outside the frame",
    "one_pixel": "1 x 1-pixel frames",
    "no_face": "a video in which no frame has a face",
}
_STOPS: Final = (32, 128, 512)
"""Frame counts after which the memory is measured."""
_SHARE: Final = 0.25
_SLACK: Final = 1 << 20
_SLOW: Final = 0.05
"""Processing time in seconds per frame. The memory check is skipped for slower metrics."""


def check_metric(spec: MetricSpec | FoundMetric, *, folder: Path | None = None) -> Report:
    """Check a metric against its contract and return a report.

    ``folder`` is an empty directory for the metric's cache. The default is a temporary directory.
    """
    found = spec if isinstance(spec, FoundMetric) else FoundMetric(spec, "", "")
    if folder is not None:
        return _check(found, folder)
    with tempfile.TemporaryDirectory(prefix="retalkit-testing-", ignore_cleanup_errors=True) as made:
        return _check(found, Path(made))


def _check(found: FoundMetric, folder: Path) -> Report:
    spec = found.spec
    exam = Examination(f"metric '{spec.name}'", folder)
    with exam.check("spec"):
        check_field_types(spec, partial(exam.problem, "spec"))
        if exam.has_problem("spec"):
            exam.skip(check_names(spec)[1:], "the spec is invalid: fix `spec` first")
            return exam.report()
        _check_spec(found, exam)
    reason = incompatible_api("metric", spec.api) or metric_availability(found)
    if reason is not None:
        return exam.report(unavailable=reason)
    store = WeightStore()
    weights = {name: store.file(name) for name in spec.checkpoints}
    scenes = {name: replace(scene, weights=weights) for name, scene in _scenes(spec).items()}
    with exam.check("build"):
        exam.import_build(spec.build, _BUILD)
        with exam.sandboxed(change_folder=True):
            metric = exam.call("build", "build", _BUILD, spec.make)
            exam.module = type(metric).__module__
            exam.require_methods("build", "the metric", metric, ("open",), _METHODS)
            for name, scene in scenes.items():
                with exam.check(name):
                    _check_scene(exam, spec, metric, name, scene)
            if FRAMES in spec.needs:
                with exam.check("memory"):
                    _check_memory(exam, spec, metric, weights)
    return exam.report()


def _check_spec(found: FoundMetric, exam: Examination) -> None:
    spec = found.spec
    record = partial(exam.problem, "spec")
    check_texts(spec.name, spec.summary, spec.licence, spec.version, record)
    if not spec.source.strip():
        record(
            "the source is empty",
            "MetricSpec.source must cite the paper, equation or definition of the metric.",
        )
    if (reason := incompatible_api("metric", spec.api)) is not None:
        record(f"api is {spec.api}", f"The metric is {reason}.")
    if unknown := sorted((spec.needs | spec.uses) - set(PORTS)):
        record(
            f"unknown port '{unknown[0]}'",
            "MetricSpec.needs and MetricSpec.uses must contain only ports from retalkit.metrics.",
        )
    check_ports(spec.needs | spec.uses, PORTS, record)
    check_build(spec.build, record)
    if not spec.measures:
        record("the spec has no measures", "MetricSpec.measures must contain at least one measure.")
    for measure in spec.measures:
        if measure.direction == "nearer" and measure.ideal is None:
            record(f"measure '{measure.name}' has no ideal value", "Measure.ideal is required for direction `nearer`.")
        if not measure.low < measure.high:
            record(f"measure '{measure.name}' has an empty range", "Measure.low must be less than Measure.high.")
        if not measure.summary.strip():
            record(
                f"measure '{measure.name}' has no summary",
                "Measure.summary must describe the value and its limitations in one sentence.",
            )
    if heavy := heavy_imports(found.package, ""):
        record(f"listing the metric imports {', '.join(heavy)}", "A module that defines specs must be fast to import.")


def _check_scene(exam: Examination, spec: MetricSpec, metric: Any, name: str, scene: Scene) -> None:
    seed_generators(1)
    first = exam.timed(name, lambda: _measure(exam, spec, metric, name, scene))
    seed_generators(2)
    again = _measure(exam, spec, metric, name, scene)
    for measure in spec.measures:
        one, two = first.get(measure.name, math.nan), again.get(measure.name, math.nan)
        if one != two and not (math.isnan(one) and math.isnan(two)):
            exam.problem(name, f"{measure.name} changes from {one:g} to {two:g} in the second run", _SAME)


def _call(exam: Examination, name: str, what: str, contract: str, function: Any, *arguments: Any, of: str = "") -> Any:
    try:
        return exam.run(what, function, *arguments)
    except CallError as failed:
        parts = [text for text in (of, _SITUATIONS.get(name, "")) if text]
        exam.record_exception(name, what, failed, f" for {', in '.join(parts)}" if parts else "", contract)
        raise StopCheckError from failed


def _measure(exam: Examination, spec: MetricSpec, metric: Any, name: str, scene: Scene) -> dict[str, float]:
    scene = replace(scene, cache=exam.context(name).cache)
    session = _call(exam, name, "open()", _OPEN, metric.open, scene)
    if FRAMES in spec.needs:
        exam.require_methods(name, "the session", session, ("add",), _ADD)
        for frame in scored_frames(scene):
            _call(exam, name, "add()", _ADD, session.add, frame, of=f"frame {frame.index}")
    exam.require_methods(name, "the session", session, ("result",), _RESULT)
    result: object = _call(exam, name, "result()", _RESULT, session.result)
    if not isinstance(result, Mapping):
        exam.problem(name, f"result() returned {type(result).__name__}, expected a mapping", _RESULT)
        raise StopCheckError
    scores = cast("Mapping[str, Any]", result)
    names = [measure.name for measure in spec.measures]
    for unknown in sorted(set(scores) - set(names)):
        exam.problem(name, f"result() returned '{unknown}', which is not a measure in the spec", _RESULT)
    for measure in spec.measures:
        value = scores.get(measure.name)
        if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
            exam.problem(name, f"{measure.name} has type {type(value).__name__}, expected a number", _RESULT)
        elif not math.isnan(value) and not measure.low <= value <= measure.high:
            words = f"{measure.name} is {value:g}, expected a value in [{measure.low:g}, {measure.high:g}]"
            exam.problem(name, words, _RESULT)
    return {n: float(value) for n, value in scores.items() if isinstance(value, int | float | np.number)}


def _check_memory(exam: Examination, spec: MetricSpec, metric: Any, weights: dict[str, Path]) -> None:
    """Process further small frames, and check that memory growth is small compared with the frame size."""
    if (seconds := exam.seconds.get("scene", 0.0) / upstream.FRAMES) > _SLOW:
        exam.skip(("memory",), f"processing takes {seconds:.2f} s per frame, which is too slow for this check")
        return
    long = _scene(upstream.long_clip(_STOPS[-1]))
    scene = replace(_only_needs(long, spec.needs), weights=weights, cache=exam.context("memory").cache)
    info = scene.source.info
    frame = info.width * info.height * 3
    kept: list[int] = []
    grown = 0.0
    with trace_allocations():
        session = exam.call("memory", "open()", _OPEN, metric.open, scene)
        for number, shown in enumerate(scored_frames(scene), 1):
            exam.call("memory", "add()", _ADD, session.add, shown)
            if number not in _STOPS:
                continue
            kept.append(allocated_bytes())
            if len(kept) < 2:
                continue
            more = number - _STOPS[len(kept) - 2]
            grown = (kept[-1] - kept[-2]) / more
            # A buffer of limited size fills up only once. Only continued growth indicates a problem.
            if kept[-1] - kept[-2] <= _SHARE * frame * more + _SLACK:
                return
    exam.problem(
        "memory",
        f"memory grows by {grown / 1024:.0f} kB per frame (size of one frame: {frame // 1024} kB)",
        "A metric must accumulate scalar values instead of storing frames, because a video may be long.",
    )


def _scenes(spec: MetricSpec) -> dict[str, Scene]:
    """Return the test scenes, by check name. Scenes without a face are included only if the metric does not require a
    face."""
    whole = _scene(upstream.clip())
    scenes = {
        "scene": whole,
        "only_needs": _only_needs(whole, spec.needs),
        "one_frame": _only_needs(_scene(upstream.one_frame_clip()), spec.needs),
        "odd_size": _only_needs(_scene(upstream.odd_clip()), spec.needs),
    }
    if LANDMARKS not in spec.needs:
        scenes["no_face"] = _without_face(_scene(upstream.faceless_clip()), spec.needs)
        scenes["one_pixel"] = _without_face(_scene(upstream.one_pixel_clip()), spec.needs)
    return scenes


def _without_face(scene: Scene, needs: frozenset[str]) -> Scene:
    """Return a copy of the scene with all face detections removed."""
    return replace(_only_needs(scene, needs), output=None, original_analysis=None)


def _scene(clip: Clip) -> Scene:
    rows = clip.analysis.all_coefficients.astype(np.float64)
    moments = np.arange(0, clip.source.info.duration, 0.04)
    times = clip.source.times(0, clip.count)
    opening, width = (np.interp(moments, times, np.nan_to_num(rows[:, column])) for column in (OPENING, WIDTH))
    seconds = clip.source.info.duration
    return Scene(
        video=Path("kit.mp4"),
        source=clip.source,
        output=clip.analysis,
        original=clip.source,
        original_analysis=clip.analysis,
        sources=np.arange(clip.count, dtype=np.int64),
        sound=material.speech(seconds),
        lips=Lips(opening, width),
        record={"output_seconds": seconds, "seconds": {"faces": 1.0, "render": 2.0}, "cost": {"faces": 1.0}},
        ports=frozenset(PORTS),
    )


def _only_needs(scene: Scene, needs: frozenset[str]) -> Scene:
    removed: dict[str, Any] = {}
    if LANDMARKS not in needs:
        removed |= {"output": None, "original_analysis": None}
    if LIPS not in needs:
        removed["lips"] = None
    if not needs & {"original", "truth"}:
        removed |= {"original": None, "original_analysis": None, "sources": None}
    if not needs & {"speech", "quiet"}:
        removed["sound"] = None
    if "record" not in needs:
        removed["record"] = None
    return replace(scene, **removed, ports=needs)
