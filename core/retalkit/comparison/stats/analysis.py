"""Statistical analysis of a comparison: means, paired differences and verdicts for each variant, arm and measure.

The methods are described in ``docs/comparing-statistics.md``.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np

from retalkit.comparison.results import ANCHOR, MISMATCHED, OWN, REAL, Results
from retalkit.comparison.stats.cell_table import CellTable, ClipSpeechValues, MetricMeasure
from retalkit.comparison.stats.contrasts import Pairing, contrasts, pair_clips, quantity_of
from retalkit.comparison.stats.model import Analysis, Contrast, Failures, NoiseFloor, Position, Summary
from retalkit.comparison.stats.resampling import INTERVAL_CLIPS, mean_interval
from retalkit.plugins.metric_specs import Measure


def analyse(results: Results) -> Analysis:
    """Compute all summaries, contrasts, positions, noise floors and failures of a complete or incomplete comparison.

    A measure is omitted from an arm if its metric was not run on any cell in the arm. The analysis is deterministic.
    """
    cells = CellTable(results)
    all_measures = [MetricMeasure(metric.name, measure) for metric in results.metrics for measure in metric.measures]
    base = next((variant.name for variant in results.variants if variant.is_base), "")
    arm_measures = [
        (arm, measured) for arm in cells.arms for measured in all_measures if measured.measured_in(cells.arm(arm))
    ]
    noise = [_noise(cells, arm, measured) for arm, measured in arm_measures]
    floors = {(one.arm, one.measure): one.floor for one in noise}
    return Analysis(
        base=base,
        clips=len({cell.name.clip for cell in results.cells}),
        summaries=tuple(
            _summary(cells, variant, arm, measured)
            for arm, measured in arm_measures
            for variant in cells.variants
            if cells.originals.get((variant, arm))
        ),
        contrasts=tuple(
            contrast
            for arm, measured in arm_measures
            for contrast in _base_contrasts(cells, base, arm, measured, floors[arm, measured.measure.name])
        ),
        positions=tuple(position for measured in all_measures for position in _positions(cells, measured, floors)),
        noise=tuple(noise),
        failures=tuple(_failures(results, variant) for variant in cells.variants),
    )


def _summary(cells: CellTable, variant: str, arm: str, measured: MetricMeasure) -> Summary:
    values = _clip_means(cells.seed_means(variant, arm, measured))
    table = np.array(list(values.values()), float)
    quantity = quantity_of(measured.measure)
    distances = _clip_means(cells.seed_means(variant, arm, measured, quantity)) if quantity == "distance" else {}
    low, high, method = mean_interval(table)
    states = Counter(measured.state(cell) for cell in cells.originals[variant, arm])
    clips = "1 clip" if len(table) == 1 else f"{len(table)} clips"
    return Summary(
        variant=variant,
        arm=arm,
        measure=measured.measure.name,
        clips=len(table),
        mean=float(table.mean()) if len(table) else math.nan,
        low=low,
        high=high,
        method=method,
        note="" if method else f"no interval for {clips}: at least {INTERVAL_CLIPS} clips are required",
        distance=float(np.mean(list(distances.values()))) if distances else math.nan,
        values=tuple(values.items()),
        cells=states.total(),
        failed=states["failed"],
        undefined=states["undefined"],
        absent=states["absent"],
    )


def _clip_means(values: ClipSpeechValues) -> dict[str, float]:
    return {clip: float(np.mean(list(speeches.values()))) for clip, speeches in values.items()}


def _base_contrasts(
    cells: CellTable, base: str, arm: str, measured: MetricMeasure, floor: float | None
) -> list[Contrast]:
    others = [name for name in cells.variants if name not in (base, ANCHOR) and cells.originals.get((name, arm))]
    if not base or not others:
        return []
    quantity = quantity_of(measured.measure)

    def both(variant: str) -> tuple[ClipSpeechValues, ClipSpeechValues]:
        return cells.seed_means(variant, arm, measured), cells.seed_means(variant, arm, measured, quantity)

    base_values, base_quantities = both(base)
    family: list[Pairing] = []
    for variant in others:
        values, quantities = both(variant)
        family.append(pair_clips(variant, base, (values, base_values), (quantities, base_quantities), floor))
    return contrasts(measured.measure, arm, family)


def _positions(
    cells: CellTable, measured: MetricMeasure, floors: dict[tuple[str, str], float | None]
) -> list[Position]:
    name, quantity = measured.measure.name, quantity_of(measured.measure)

    def means(variant: str, arm: str) -> ClipSpeechValues:
        # Mismatched cells are labelled with the other clip's name, so cells are paired by clip instead of by speech.
        values = cells.seed_means(variant, arm, measured, quantity)
        return {clip: {"": value} for clip, value in _clip_means(values).items()}

    def family(arm: str) -> list[Contrast]:
        known = [floor for place in (OWN, arm) if (floor := floors.get((place, name))) is not None]
        floor = max(known, default=None)
        pairings: list[Pairing] = []
        for variant, (own, anchor, chance) in found.items():
            other = anchor if arm == REAL else chance
            pairings.append(pair_clips(variant, arm, (own, other), (own, other), floor))
        return contrasts(measured.measure, OWN, pairings)

    found: dict[str, tuple[ClipSpeechValues, ClipSpeechValues, ClipSpeechValues]] = {}
    real = means(ANCHOR, REAL)
    for variant in cells.variants:
        own, chance = means(variant, OWN), means(variant, MISMATCHED)
        clips = [clip for clip in own if clip in real and clip in chance]
        if clips:
            own, anchor, chance = ({clip: side[clip] for clip in clips} for side in (own, real, chance))
            found[variant] = own, anchor, chance
    return [
        _position(measured.measure, variant, found[variant], against_anchor, against_chance)
        for variant, against_anchor, against_chance in zip(found, family(REAL), family(MISMATCHED), strict=True)
    ]


def _position(
    measure: Measure,
    variant: str,
    sides: tuple[ClipSpeechValues, ClipSpeechValues, ClipSpeechValues],
    against_anchor: Contrast,
    against_chance: Contrast,
) -> Position:
    own, anchor, chance = (float(np.mean(list(_clip_means(side).values()))) for side in sides)
    # The measure's direction of improvement applies only to values, not to distances.
    room = anchor - chance if measure.direction == "higher" else chance - anchor
    return Position(
        variant=variant,
        measure=measure.name,
        quantity=quantity_of(measure),
        clips=len(sides[0]),
        own=own,
        anchor=anchor,
        chance=chance,
        share=(own - chance) / (anchor - chance) if room > 0 else math.nan,
        reason="" if room > 0 else "the real video does not score better than chance",
        against_anchor=against_anchor,
        against_chance=against_chance,
    )


def _noise(cells: CellTable, arm: str, measured: MetricMeasure) -> NoiseFloor:
    originals = {cell.name: cell for cell in cells.arm(arm)}
    largest, worst, pairs = -1.0, "", 0
    for rerun in cells.reruns[arm]:
        original = originals.get(replace(rerun.name, rerun=0))
        again, first = measured.value(rerun), None if original is None else measured.value(original)
        if again is not None and first is not None:
            pairs += 1
            if abs(again - first) > largest:
                largest, worst = abs(again - first), rerun.name.label
    seeds: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for cell in originals.values():
        if (value := measured.value(cell)) is not None:
            seeds[cell.name.variant, cell.name.clip, cell.name.speech].append(value)
    variances = [float(np.var(values, ddof=1)) for values in seeds.values() if len(values) > 1]
    return NoiseFloor(
        arm=arm,
        measure=measured.measure.name,
        floor=largest if pairs else None,
        pairs=pairs,
        worst=worst,
        seed_spread=math.sqrt(float(np.mean(variances))) if variances else None,
        seed_groups=len(variances),
    )


def _failures(results: Results, variant: str) -> Failures:
    cells = [cell for cell in results.cells if cell.name.variant == variant]
    reasons = Counter(cell.failure or "unknown reason" for cell in cells if cell.state == "failed")
    metrics = Counter(item for cell in cells if cell.state == "done" for item in cell.failed_metrics.items())
    return Failures(
        variant=variant,
        cells=len(cells),
        failed=reasons.total(),
        reasons=tuple(reasons.most_common()),
        metrics=tuple((metric, error, count) for (metric, error), count in metrics.most_common()),
    )
