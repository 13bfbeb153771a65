"""Lookup of cell values, and of the reasons for missing values, by variant, arm and clip."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from retalkit.comparison.results import ANCHOR, ARMS, CellResult, Results
from retalkit.comparison.stats.model import Quantity
from retalkit.plugins.metric_specs import Measure

ClipSpeechValues = Mapping[str, Mapping[str, float]]
"""Mapping from clip to a mapping from speech to value."""

State = Literal["value", "failed", "undefined", "absent"]


@dataclass(frozen=True, slots=True)
class MetricMeasure:
    """Measure together with the name of its metric."""

    metric: str
    measure: Measure

    def state(self, cell: CellResult) -> State:
        """Return ``value`` if the cell has a value, otherwise ``undefined``, ``absent`` or ``failed``."""
        if cell.state == "failed" or self.metric in cell.failed_metrics:
            return "failed"
        if self.measure.name in cell.scores:
            value = cell.scores[self.measure.name]
            return "undefined" if value is None or not math.isfinite(value) else "value"
        return "absent"

    def value(self, cell: CellResult) -> float | None:
        """Return the cell's value, or None if the value is missing or not finite."""
        return cell.scores[self.measure.name] if self.state(cell) == "value" else None

    def measured_in(self, cells: list[CellResult]) -> bool:
        """Return whether the metric was run on any of the cells."""
        return any(cell.state == "done" and self.state(cell) != "absent" for cell in cells)


class CellTable:
    """Cells of a comparison, indexed by variant and arm. Reruns are stored separately."""

    def __init__(self, results: Results) -> None:
        names = {cell.name.arm for cell in results.cells}
        self.arms = [arm for arm in ARMS if arm in names] + sorted(names.difference(ARMS))
        known = [ANCHOR, *(variant.name for variant in results.variants)]
        self.variants = known + sorted({cell.name.variant for cell in results.cells}.difference(known))
        self.originals: dict[tuple[str, str], list[CellResult]] = defaultdict(list)
        self.reruns: dict[str, list[CellResult]] = defaultdict(list)
        # Cells finish in arbitrary order. They are sorted because floating-point sums depend on the order of summation.
        for cell in sorted(results.cells, key=lambda cell: (cell.name.clip, cell.name.speech, cell.name.seed)):
            if cell.name.rerun:
                self.reruns[cell.name.arm].append(cell)
            else:
                self.originals[cell.name.variant, cell.name.arm].append(cell)

    def arm(self, arm: str) -> list[CellResult]:
        """Return all cells in an arm except reruns."""
        return [cell for variant in self.variants for cell in self.originals.get((variant, arm), [])]

    def seed_means(
        self, variant: str, arm: str, measured: MetricMeasure, quantity: Quantity = "value"
    ) -> ClipSpeechValues:
        """Return the mean over seeds for each clip and speech. Cells without a value are ignored."""
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for cell in self.originals.get((variant, arm), []):
            value = measured.value(cell)
            if value is not None:
                value = -measured.measure.goodness(value) if quantity == "distance" else value
                found[cell.name.clip][cell.name.speech].append(value)
        return {
            clip: {speech: float(np.mean(values)) for speech, values in speeches.items()}
            for clip, speeches in found.items()
        }
