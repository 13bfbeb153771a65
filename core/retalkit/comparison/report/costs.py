"""Which metrics tell what a run took, not how good its video is."""

from __future__ import annotations

from typing import Final

from retalkit.comparison.results import MetricInfo, Results

SPEED: Final = "realtime_factor"
"""Measure of how fast a run was; the other measures of its metric are costs, too."""


def is_cost(metric: MetricInfo) -> bool:
    """Whether the metric tells what a run took, not how good its video is."""
    return any(measure.name == SPEED for measure in metric.measures)


def cost_measures(results: Results) -> set[str]:
    """Names of the measures of all such metrics."""
    return {measure.name for metric in results.metrics if is_cost(metric) for measure in metric.measures}
