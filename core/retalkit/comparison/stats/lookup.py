"""Finds the values of a comparison's cells, and tells why a cell has none."""

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

Blocks = Mapping[str, Mapping[str, float]]
"""Clip -> speech -> value."""

State = Literal["value", "failed", "undefined", "absent"]


@dataclass(frozen=True, slots=True)
class Metered:
    """A measure and the metric that gives it."""

    metric: str
    measure: Measure

    def state(self, cell: CellResult) -> State:
        """Why a cell has no value, or that it has one."""
        if cell.state == "failed" or self.metric in cell.failed_metrics:
            return "failed"
        if self.measure.name in cell.scores:
            value = cell.scores[self.measure.name]
            return "undefined" if value is None or not math.isfinite(value) else "value"
        return "absent"

    def value(self, cell: CellResult) -> float | None:
        """The cell's value where it has a finite one."""
        return cell.scores[self.measure.name] if self.state(cell) == "value" else None

    def taken(self, cells: list[CellResult]) -> bool:
        """Whether the metric was run on any of the cells."""
        return any(cell.state == "done" and self.state(cell) != "absent" for cell in cells)


class Cells:
    """The cells of a comparison by variant and arm, reruns apart."""

    def __init__(self, results: Results) -> None:
        names = {cell.name.arm for cell in results.cells}
        self.arms = [arm for arm in ARMS if arm in names] + sorted(names.difference(ARMS))
        known = [ANCHOR, *(variant.name for variant in results.variants)]
        self.variants = known + sorted({cell.name.variant for cell in results.cells}.difference(known))
        self.of: dict[tuple[str, str], list[CellResult]] = defaultdict(list)
        self.reruns: dict[str, list[CellResult]] = defaultdict(list)
        # In one order, whatever order they were finished in: sums of floats depend on it.
        for cell in sorted(results.cells, key=lambda cell: (cell.name.clip, cell.name.speech, cell.name.seed)):
            if cell.name.rerun:
                self.reruns[cell.name.arm].append(cell)
            else:
                self.of[cell.name.variant, cell.name.arm].append(cell)

    def arm(self, arm: str) -> list[CellResult]:
        """All cells of an arm but the reruns."""
        return [cell for variant in self.variants for cell in self.of.get((variant, arm), [])]

    def blocks(self, variant: str, arm: str, metered: Metered, quantity: Quantity = "value") -> Blocks:
        """Clip -> speech -> mean over seeds, of what has a value."""
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for cell in self.of.get((variant, arm), []):
            value = metered.value(cell)
            if value is not None:
                value = -metered.measure.goodness(value) if quantity == "distance" else value
                found[cell.name.clip][cell.name.speech].append(value)
        return {
            clip: {speech: float(np.mean(values)) for speech, values in speeches.items()}
            for clip, speeches in found.items()
        }
