"""Checks of a metric."""

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
from retalkit.testing.building import import_build
from retalkit.testing.checks.specs import heavy_imports, look_at_build, look_at_ports, look_at_types, look_at_words
from retalkit.testing.examination import CallError, Examination, StopCheckError
from retalkit.testing.fixtures import material, upstream
from retalkit.testing.fixtures.clips import Clip
from retalkit.testing.isolation.allocations import counted, held
from retalkit.testing.isolation.sandbox import seed_generators
from retalkit.testing.report import Report
from retalkit.weights.store import WeightStore

_BUILD = "MetricSpec.build makes a metric without arguments, and does no work of a scene."
_RESULT = "result() gives a number for each measure of the spec, within its range; NaN where one is not defined."
_SAME = "The same scene gives the same numbers."
_ADD = "add() takes every frame of any scene that has what the spec needs."
_OPEN = "open() works for every scene that has what the spec needs."
_SITUATIONS: Final = {
    "needed_alone": "a scene with nothing but what the spec needs",
    "one_frame": "a video of a single frame",
    "odd_size": "frames of 167 x 121 pixels, with half of the face outside",
    "one_pixel": "frames of 1 x 1 pixel",
    "no_face": "a video in which no frame has a face",
}
_STOPS: Final = (32, 128, 512)
"""Frames after which memory is looked at."""
_SHARE: Final = 0.25
_SLACK: Final = 1 << 20
_SLOW: Final = 0.05
"""Seconds a frame from which on memory is not looked at."""


def check_metric(spec: MetricSpec | FoundMetric, *, folder: Path | None = None) -> Report:
    """Checks a metric against its contract. ``folder`` as in ``check_stage``."""
    found = spec if isinstance(spec, FoundMetric) else FoundMetric(spec, "", "")
    if folder is not None:
        return _checked(found, folder)
    with tempfile.TemporaryDirectory(prefix="retalkit-testing-", ignore_cleanup_errors=True) as made:
        return _checked(found, Path(made))


def _checked(found: FoundMetric, folder: Path) -> Report:
    spec = found.spec
    exam = Examination(f"metric '{spec.name}'", folder)
    with exam.check("spec"):
        look_at_types(spec, partial(exam.problem, "spec"))
        if exam.broken("spec"):
            exam.skip("all other checks", "the spec cannot be read: mend it first")
            return exam.report()
        _look_at_spec(found, exam)
    reason = incompatible_api("metric", spec.api) or metric_availability(found)
    if reason is not None:
        return exam.report(unavailable=reason)
    store = WeightStore()
    weights = {name: store.file(name) for name in spec.checkpoints}
    scenes = {name: replace(scene, weights=weights) for name, scene in _scenes(spec).items()}
    with exam.check("build"):
        import_build(exam, spec.build, _BUILD)
        with exam.watched(change_folder=True):
            metric = exam.call("build", "building it", _BUILD, spec.make)
            exam.module = type(metric).__module__
            exam.has("build", "what was built", metric, ("open",), "A metric has open(), see retalkit.metrics.scene.")
            for name, scene in scenes.items():
                with exam.check(name):
                    _look(exam, spec, metric, name, scene)
            if FRAMES in spec.needs:
                with exam.check("memory"):
                    _memory(exam, spec, metric, weights)
    return exam.report()


def _look_at_spec(found: FoundMetric, exam: Examination) -> None:
    spec = found.spec
    note = partial(exam.problem, "spec")
    look_at_words(spec.name, spec.summary, spec.licence, spec.version, note)
    if not spec.source.strip():
        note("the source is empty", "MetricSpec.source names the paper, equation or definition that it follows.")
    if (reason := incompatible_api("metric", spec.api)) is not None:
        note(f"api is {spec.api}", f"The metric is {reason}.")
    if unknown := sorted((spec.needs | spec.uses) - set(PORTS)):
        note(f"needs '{unknown[0]}'", "MetricSpec.needs and .uses are constants of retalkit.plugins.metric_specs.")
    look_at_ports(spec.needs | spec.uses, PORTS, note)
    look_at_build(spec.build, note)
    if not spec.measures:
        note("has no measures", "A metric gives at least one number.")
    for measure in spec.measures:
        if measure.direction == "nearer" and measure.ideal is None:
            note(f"measure '{measure.name}' is best near nothing", "Measure.ideal must be given for `nearer`.")
        if not measure.low < measure.high:
            note(f"measure '{measure.name}' has no range", "Measure.low is below Measure.high.")
        if not measure.summary.strip():
            note(f"measure '{measure.name}' has no summary", "One sentence says what it tells, and what it does not.")
    if heavy := heavy_imports(found.package, ""):
        note(f"listing the metric imports {', '.join(heavy)}", "A module that lists metrics is light.")


def _look(exam: Examination, spec: MetricSpec, metric: Any, name: str, scene: Scene) -> None:
    seed_generators(1)
    first = exam.timed(name, 1, lambda: _measured(exam, spec, metric, name, scene))
    seed_generators(2)
    again = _measured(exam, spec, metric, name, scene)
    for measure in spec.measures:
        one, two = first.get(measure.name, math.nan), again.get(measure.name, math.nan)
        if one != two and not (math.isnan(one) and math.isnan(two)):
            exam.problem(name, f"{measure.name} is {one:g} once and {two:g} the other time", _SAME)


def _asked(exam: Examination, name: str, what: str, contract: str, function: Any, *arguments: Any, of: str = "") -> Any:
    try:
        return exam.tried(what, function, *arguments)
    except CallError as failed:
        said = [text for text in (of, _SITUATIONS.get(name, "")) if text]
        exam.raised(name, what, failed, f" for {', in '.join(said)}" if said else "", contract)
        raise StopCheckError from failed


def _measured(exam: Examination, spec: MetricSpec, metric: Any, name: str, scene: Scene) -> dict[str, float]:
    scene = replace(scene, cache=exam.context(name).cache)
    session = _asked(exam, name, "open()", _OPEN, metric.open, scene)
    if FRAMES in spec.needs:
        exam.has(name, "what open() gave", session, ("add",), _ADD)
        for frame in scored_frames(scene):
            _asked(exam, name, "add()", _ADD, session.add, frame, of=f"frame {frame.index}")
    exam.has(name, "what open() gave", session, ("result",), _RESULT)
    given: object = _asked(exam, name, "result()", _RESULT, session.result)
    if not isinstance(given, Mapping):
        exam.problem(name, f"result() gave {type(given).__name__}", _RESULT)
        raise StopCheckError
    scores = cast("Mapping[str, Any]", given)
    names = [measure.name for measure in spec.measures]
    for unknown in sorted(set(scores) - set(names)):
        exam.problem(name, f"result() gave '{unknown}', which is no measure of the spec", _RESULT)
    for measure in spec.measures:
        value = scores.get(measure.name)
        if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
            exam.problem(name, f"{measure.name} is {type(value).__name__}", _RESULT)
        elif not math.isnan(value) and not measure.low <= value <= measure.high:
            words = f"{measure.name} is {value:g}, not within [{measure.low:g}, {measure.high:g}]"
            exam.problem(name, words, _RESULT)
    return {n: float(value) for n, value in scores.items() if isinstance(value, int | float | np.number)}


def _memory(exam: Examination, spec: MetricSpec, metric: Any, weights: dict[str, Path]) -> None:
    """What stays allocated after ever more small frames is held against what they take."""
    if (seconds := exam.seconds.get("scene", 0.0) / upstream.FRAMES) > _SLOW:
        exam.skip("memory", f"it takes {seconds:.2f} s a frame, and this takes many")
        return
    long = _scene(upstream.long_clip(_STOPS[-1]))
    scene = replace(_without(long, spec.needs), weights=weights, cache=exam.context("memory").cache)
    info = scene.source.info
    frame = info.width * info.height * 3
    kept: list[int] = []
    grown = 0.0
    with counted():
        session = exam.call("memory", "open()", _OPEN, metric.open, scene)
        for number, shown in enumerate(scored_frames(scene), 1):
            exam.call("memory", "add()", _ADD, session.add, shown)
            if number not in _STOPS:
                continue
            kept.append(held())
            if len(kept) < 2:
                continue
            more = number - _STOPS[len(kept) - 2]
            grown = (kept[-1] - kept[-2]) / more
            # A sample of a fixed size fills up once: only what goes on growing is a fault.
            if kept[-1] - kept[-2] <= _SHARE * frame * more + _SLACK:
                return
    words = f"keeps {grown / 1024:.0f} kB more for each further frame (a frame takes {frame // 1024} kB)"
    exam.problem("memory", words, "A metric keeps numbers, not frames: a video may have any length.")


def _scenes(spec: MetricSpec) -> dict[str, Scene]:
    """The kit's clip with all that a metric may read, with nothing but what it needs, and the odd ones that it can be
    given: without a face only where it needs none."""
    whole = _scene(upstream.clip())
    scenes = {
        "scene": whole,
        "needed_alone": _without(whole, spec.needs),
        "one_frame": _without(_scene(upstream.one_frame_clip()), spec.needs),
        "odd_size": _without(_scene(upstream.odd_clip()), spec.needs),
    }
    if LANDMARKS not in spec.needs:
        scenes["no_face"] = _faceless(_scene(upstream.faceless_clip()), spec.needs)
        scenes["one_pixel"] = _faceless(_scene(upstream.one_pixel_clip()), spec.needs)
    return scenes


def _faceless(scene: Scene, needs: frozenset[str]) -> Scene:
    """As a video in which no face was found is opened."""
    return replace(_without(scene, needs), output=None, original_analysis=None)


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


def _without(scene: Scene, needs: frozenset[str]) -> Scene:
    gone: dict[str, Any] = {}
    if LANDMARKS not in needs:
        gone |= {"output": None, "original_analysis": None}
    if LIPS not in needs:
        gone["lips"] = None
    if not needs & {"original", "truth"}:
        gone |= {"original": None, "original_analysis": None, "sources": None}
    if not needs & {"speech", "quiet"}:
        gone["sound"] = None
    if "record" not in needs:
        gone["record"] = None
    return replace(scene, **gone, ports=needs)
