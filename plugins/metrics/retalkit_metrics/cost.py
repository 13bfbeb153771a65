"""The metric ``cost``: what the run record says of time, memory and weights.

``cost`` of a record holds what computing each step takes on this machine, also where this run read a stored result, and
``stage_cost`` what each of the stages that make pixels takes of it. A
record without it (of an older version) has only the seconds of this run; then a step that was read from the cache has
no cost, and there is no real-time factor, since what is missing would make it look fast. ``peak_memory_cost`` is
likewise the memory of a run that computes every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from retalkit.metrics import Scores
from retalkit.metrics.scene import MetricSession, Scene

from retalkit_metrics.interface import STAGES
from retalkit_metrics.sessions import WithoutFrames

_MEBIBYTE = 2**20
_NAN = float("nan")
_STEP_STAGES = {"faces": "detector", "coefficients": "reconstructor", "speech": "denoiser", "render": "render"}
"""Step of a run that is the work of one stage -> the stage."""


class CostMetric:
    """Reads the record; looks at no frame."""

    def open(self, scene: Scene) -> MetricSession:
        return WithoutFrames(lambda: cost_scores(scene.record or {}))


def cost_scores(record: Mapping[str, Any]) -> Scores:
    """The measures of ``cost`` from a run record as plain data; NaN for what it does not tell."""
    length = float(record.get("output_seconds") or 0.0)
    complete, seconds = _seconds(record)
    total = sum(seconds.values())
    weights = cast("Mapping[str, int] | None", record.get("weight_bytes"))
    memory = int(record.get("peak_memory_cost", record.get("peak_memory_bytes")) or 0)
    spent = _of_stages(record, seconds)
    return {
        "realtime_factor": length / total if complete and total > 0 and length > 0 else _NAN,
        **{f"cost_{stage}": spent[stage] / length if stage in spent and length > 0 else _NAN for stage in STAGES},
        "peak_memory": memory / _MEBIBYTE if memory else _NAN,
        "weights_size": sum(weights.values()) / _MEBIBYTE if weights is not None else _NAN,
    }


def _of_stages(record: Mapping[str, Any], seconds: Mapping[str, float]) -> dict[str, float]:
    """Stage -> its own seconds. Those that make pixels work at the same time: together they may exceed ``render``."""
    found = {_STEP_STAGES[step]: value for step, value in seconds.items() if step in _STEP_STAGES}
    own = cast("Mapping[str, float]", record.get("stage_cost") or {})
    found |= {place: float(value) for place, value in own.items() if place in STAGES}
    if own:
        found["enhancers"] = sum(float(value) for place, value in own.items() if place.startswith("enhancers."))
    return found


def _seconds(record: Mapping[str, Any]) -> tuple[bool, dict[str, float]]:
    """Whether no step is missing, and step -> seconds that computing it takes."""
    cost = cast("Mapping[str, float]", record.get("cost") or {})
    measured = cast("Mapping[str, float]", record.get("seconds") or {})
    cached = set(cast("list[str]", record.get("cached_steps") or []))
    seconds = {step: float(value) for step, value in measured.items() if step not in cached}
    seconds |= {step: float(value) for step, value in cost.items()}
    return set(measured) <= set(seconds), seconds
