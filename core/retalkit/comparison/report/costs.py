"""Classification of metrics as cost metrics (speed, memory) or quality metrics."""

from __future__ import annotations

from typing import Final

from retalkit.comparison.results import MetricInfo, Results

SPEED: Final = "realtime_factor"
"""Name of the speed measure. All measures of the metric that provides this measure are cost measures."""


def is_cost(metric: MetricInfo) -> bool:
    """Return whether the metric measures computational cost instead of video quality."""
    return any(measure.name == SPEED for measure in metric.measures)


def cost_measures(results: Results) -> set[str]:
    """Return the names of the measures of all cost metrics."""
    return {measure.name for metric in results.metrics if is_cost(metric) for measure in metric.measures}
