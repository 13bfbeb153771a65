"""Computation of several metrics in one pass over a scene's frames. An error in one metric does not stop the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from retalkit.metrics.scene import Scene, scored_frames
from retalkit.observer import Observer
from retalkit.plugins.availability import metric_availability
from retalkit.plugins.fingerprint import editable_sources
from retalkit.plugins.metric_specs import FRAMES, LANDMARKS, PORTS
from retalkit.plugins.registry import FoundMetric
from retalkit.weights.store import WeightStore

FACE_LOST = "no face was found in the video, although the unedited clip contains a face"
"""Error message of a metric that requires a face, if the face cannot be found after the edit."""


@dataclass(slots=True)
class MetricScore:
    """Result of one metric for one scene."""

    scores: dict[str, float] = field(default_factory=dict[str, float])
    """Mapping from measure name to value. Undefined values are NaN."""
    skip_reason: str = ""
    """Reason why the metric was skipped, or an empty string if the metric was not skipped."""
    error: str = ""
    """Message of the exception raised by the metric, or an empty string if no exception was raised."""


def missing_inputs(found: FoundMetric, ports: frozenset[str]) -> str:
    """Return a description of the required inputs that ``ports`` lacks, or an empty string if no input is missing."""
    missing = [PORTS[port] for port in PORTS if port in found.spec.needs - ports]
    return f"requires {' and '.join(missing)}" if missing else ""


def fingerprint(found: FoundMetric) -> list[Any]:
    """Return JSON-compatible data that changes whenever the metric's scores could change."""
    store = WeightStore()
    hashes = [store.sha256(name) for name in found.spec.checkpoints if store.path(name) is not None]
    return [found.spec.version, found.package, found.package_version, editable_sources(found), hashes]


def score(scene: Scene, metrics: Sequence[FoundMetric], observer: Observer) -> dict[str, MetricScore]:
    """Return a mapping from metric name to result. Exceptions raised by a metric are recorded in
    ``MetricScore.error``."""
    store = WeightStore()
    results: dict[str, MetricScore] = {}
    sessions: dict[str, Any] = {}
    for found in metrics:
        name = found.spec.name
        results[name] = MetricScore(skip_reason=missing_inputs(found, scene.ports) or metric_availability(found) or "")
        if found.spec.needs - scene.ports == frozenset({LANDMARKS}) and scene.original_analysis is not None:
            # A face was found in the unedited clip, so the edit made the face undetectable. Therefore, the result is an
            # error instead of a missing input.
            results[name] = MetricScore(error=FACE_LOST)
        if results[name].skip_reason or results[name].error:
            continue
        weights = {checkpoint: store.file(checkpoint) for checkpoint in found.spec.checkpoints}
        try:
            sessions[name] = found.spec.make().open(replace(scene, weights=weights))
        except Exception as error:  # third-party code may raise any exception
            results[name].error = _one_line(error)
    frame_metrics = [name for found in metrics if FRAMES in found.spec.needs and (name := found.spec.name) in sessions]
    if frame_metrics:
        _add_frames(scene, frame_metrics, sessions, results, observer)
    for found in metrics:
        name = found.spec.name
        if name not in sessions or results[name].error:
            continue
        try:
            values = sessions[name].result()
            results[name].scores = {m.name: float(values.get(m.name, math.nan)) for m in found.spec.measures}
        except Exception as error:
            results[name].error = _one_line(error)
    return results


def _add_frames(
    scene: Scene, names: list[str], sessions: dict[str, Any], results: dict[str, MetricScore], observer: Observer
) -> None:
    for frame in scored_frames(scene):
        for name in names:
            if results[name].error:
                continue
            try:
                sessions[name].add(frame)
            except Exception as error:
                results[name].error = _one_line(error)
        observer.advanced("metrics", frame.index + 1)


def _one_line(error: Exception) -> str:
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
