"""Runs metrics on a scene: which can be measured, all of them in one pass over the frames. One that fails stops none of
the others."""

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

FACE_GONE = "no face is found in the video, and the unedited clip shows one"
"""What a metric that needs a face ends with where the video has lost it."""


@dataclass(slots=True)
class MetricScore:
    """What one metric gave for one scene."""

    scores: dict[str, float] = field(default_factory=dict[str, float])
    """Measure -> value, NaN where it is not defined."""
    absent: str = ""
    """Why it was not measured; else empty."""
    error: str = ""
    """What it ended with; else empty."""


def unmet(found: FoundMetric, ports: frozenset[str]) -> str:
    """What the metric needs and a scene with these ports does not offer, in words; empty where it is all there."""
    missing = [PORTS[port] for port in PORTS if port in found.spec.needs - ports]
    return f"needs {' and '.join(missing)}" if missing else ""


def fingerprint(found: FoundMetric) -> list[Any]:
    """Plain data that changes whenever the metric may give other numbers."""
    store = WeightStore()
    hashes = [store.sha256(name) for name in found.spec.checkpoints if store.path(name) is not None]
    return [found.spec.version, found.package, found.package_version, editable_sources(found), hashes]


def score(scene: Scene, metrics: Sequence[FoundMetric], observer: Observer) -> dict[str, MetricScore]:
    """Name of a metric -> what it gave. Faults of a metric are part of its score."""
    store = WeightStore()
    results: dict[str, MetricScore] = {}
    sessions: dict[str, Any] = {}
    for found in metrics:
        name = found.spec.name
        results[name] = MetricScore(absent=unmet(found, scene.ports) or metric_availability(found) or "")
        if found.spec.needs - scene.ports == frozenset({LANDMARKS}) and scene.original_analysis is not None:
            # Not something that the scene happens to lack: the edit took it away.
            results[name] = MetricScore(error=FACE_GONE)
        if results[name].absent or results[name].error:
            continue
        weights = {checkpoint: store.file(checkpoint) for checkpoint in found.spec.checkpoints}
        try:
            sessions[name] = found.spec.make().open(replace(scene, weights=weights))
        except Exception as error:  # a stranger's code: whatever it raises is its result
            results[name].error = _line(error)
    watching = [found for found in metrics if found.spec.name in sessions and FRAMES in found.spec.needs]
    if watching:
        _show_frames(scene, [found.spec.name for found in watching], sessions, results, observer)
    for found in metrics:
        name = found.spec.name
        if name not in sessions or results[name].error:
            continue
        try:
            given = sessions[name].result()
            results[name].scores = {m.name: float(given.get(m.name, math.nan)) for m in found.spec.measures}
        except Exception as error:
            results[name].error = _line(error)
    return results


def _show_frames(
    scene: Scene, names: list[str], sessions: dict[str, Any], results: dict[str, MetricScore], observer: Observer
) -> None:
    for frame in scored_frames(scene):
        for name in names:
            if results[name].error:
                continue
            try:
                sessions[name].add(frame)
            except Exception as error:
                results[name].error = _line(error)
        observer.advanced("metrics", frame.index + 1)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
