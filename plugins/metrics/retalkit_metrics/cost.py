"""Metric ``cost``, which reports computing time, memory and weight size from the run record.

A record's ``cost`` contains the computing time of each step on the current machine, even if the run loaded the step's
result from the cache. ``stage_cost`` contains the computing time of each rendering stage. Records from older versions
have no ``cost`` and contain only the run's own duration in seconds. Cached steps in such records have no cost, and the
real-time factor is undefined, because the missing costs would bias the factor upwards. ``peak_memory_cost`` is the peak
memory of a run that computes every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from retalkit.metrics import Scores
from retalkit.metrics.scene import MetricSession, Scene

from retalkit_metrics.interface import STAGES
from retalkit_metrics.sessions import FramelessSession

_MEBIBYTE = 2**20
_NAN = float("nan")
_STEP_STAGES = {"faces": "detector", "coefficients": "reconstructor", "speech": "denoiser", "render": "render"}
"""Mapping from each pipeline step to the stage that the step runs."""


class CostMetric:
    """Metric ``cost``, which requires only the run record and no frames."""

    def open(self, scene: Scene) -> MetricSession:
        return FramelessSession(lambda: cost_scores(scene.record or {}))


def cost_scores(record: Mapping[str, Any]) -> Scores:
    """Return the measures of ``cost``, computed from a parsed run record.

    Measures without data in the record are NaN.
    """
    duration = float(record.get("output_seconds") or 0.0)
    complete, seconds = _step_seconds(record)
    total = sum(seconds.values())
    weights = cast("Mapping[str, int] | None", record.get("weight_bytes"))
    memory = int(record.get("peak_memory_cost", record.get("peak_memory_bytes")) or 0)
    stages = _stage_seconds(record, seconds)
    return {
        "realtime_factor": duration / total if complete and total > 0 and duration > 0 else _NAN,
        **{f"cost_{name}": stages[name] / duration if name in stages and duration > 0 else _NAN for name in STAGES},
        "peak_memory": memory / _MEBIBYTE if memory else _NAN,
        "weights_size": sum(weights.values()) / _MEBIBYTE if weights is not None else _NAN,
    }


def _stage_seconds(record: Mapping[str, Any], steps: Mapping[str, float]) -> dict[str, float]:
    """Return a mapping from stage to computing time in seconds.

    Rendering stages run concurrently, so the sum of their times may exceed the time of ``render``.
    """
    stages = {_STEP_STAGES[step]: value for step, value in steps.items() if step in _STEP_STAGES}
    stage_cost = cast("Mapping[str, float]", record.get("stage_cost") or {})
    stages |= {path: float(value) for path, value in stage_cost.items() if path in STAGES}
    if stage_cost:
        stages["enhancers"] = sum(float(value) for path, value in stage_cost.items() if path.startswith("enhancers."))
    return stages


def _step_seconds(record: Mapping[str, Any]) -> tuple[bool, dict[str, float]]:
    """Return whether every step's cost is known, and a mapping from step to computing time in seconds."""
    cost = cast("Mapping[str, float]", record.get("cost") or {})
    measured = cast("Mapping[str, float]", record.get("seconds") or {})
    cached = set(cast("list[str]", record.get("cached_steps") or []))
    seconds = {step: float(value) for step, value in measured.items() if step not in cached}
    seconds |= {step: float(value) for step, value in cost.items()}
    return set(measured) <= set(seconds), seconds
