"""Is this variant better? The cells of a comparison, turned into means, paired differences and verdicts.

How each number is made stands in ``docs/comparing-statistics.md``.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np

from retalkit.comparison.results import ANCHOR, MISMATCHED, OWN, REAL, Results
from retalkit.comparison.stats.contrasts import Pairing, contrasts, pair_up, quantity_of
from retalkit.comparison.stats.lookup import Blocks, Cells, Metered
from retalkit.comparison.stats.model import Analysis, Contrast, Failures, NoiseFloor, Position, Summary
from retalkit.comparison.stats.resampling import INTERVAL_CLIPS, mean_interval
from retalkit.plugins.metric_specs import Measure


def analyse(results: Results) -> Analysis:
    """Every summary, contrast, position, noise floor and failure of a comparison, finished or not.

    A measure is left out of an arm where its metric was run on no cell at all. The same results give the same numbers.
    """
    cells = Cells(results)
    metered = [Metered(metric.name, measure) for metric in results.metrics for measure in metric.measures]
    base = next((variant.name for variant in results.variants if variant.is_base), "")
    taken = {arm: [one for one in metered if one.taken(cells.arm(arm))] for arm in cells.arms}
    noise = [_noise(cells, arm, one) for arm in cells.arms for one in taken[arm]]
    floors = {(one.arm, one.measure): one.floor for one in noise}
    places = [(arm, one) for arm in cells.arms for one in taken[arm]]
    return Analysis(
        base=base,
        clips=len({cell.name.clip for cell in results.cells}),
        summaries=tuple(
            _summary(cells, variant, arm, one)
            for arm, one in places
            for variant in cells.variants
            if cells.of.get((variant, arm))
        ),
        contrasts=tuple(
            contrast
            for arm, one in places
            for contrast in _against_base(cells, base, arm, one, floors[arm, one.measure.name])
        ),
        positions=tuple(position for one in metered for position in _positions(cells, one, floors)),
        noise=tuple(noise),
        failures=tuple(_failures(results, variant) for variant in cells.variants),
    )


def _summary(cells: Cells, variant: str, arm: str, metered: Metered) -> Summary:
    values = _clip_means(cells.blocks(variant, arm, metered))
    table = np.array(list(values.values()), float)
    quantity = quantity_of(metered.measure)
    distances = _clip_means(cells.blocks(variant, arm, metered, quantity)) if quantity == "distance" else {}
    low, high, method = mean_interval(table)
    states = Counter(metered.state(cell) for cell in cells.of[variant, arm])
    clips = "1 clip" if len(table) == 1 else f"{len(table)} clips"
    return Summary(
        variant=variant,
        arm=arm,
        measure=metered.measure.name,
        clips=len(table),
        mean=float(table.mean()) if len(table) else math.nan,
        low=low,
        high=high,
        method=method,
        note="" if method else f"no interval from {clips}: {INTERVAL_CLIPS} are needed",
        distance=float(np.mean(list(distances.values()))) if distances else math.nan,
        values=tuple(values.items()),
        cells=states.total(),
        failed=states["failed"],
        undefined=states["undefined"],
        absent=states["absent"],
    )


def _clip_means(blocks: Blocks) -> dict[str, float]:
    return {clip: float(np.mean(list(speeches.values()))) for clip, speeches in blocks.items()}


def _against_base(cells: Cells, base: str, arm: str, metered: Metered, floor: float | None) -> list[Contrast]:
    others = [name for name in cells.variants if name not in (base, ANCHOR) and cells.of.get((name, arm))]
    if not base or not others:
        return []
    quantity = quantity_of(metered.measure)

    def both(variant: str) -> tuple[Blocks, Blocks]:
        return cells.blocks(variant, arm, metered), cells.blocks(variant, arm, metered, quantity)

    base_values, base_quantities = both(base)
    family: list[Pairing] = []
    for variant in others:
        values, quantities = both(variant)
        family.append(pair_up(variant, base, (values, base_values), (quantities, base_quantities), floor))
    return contrasts(metered.measure, arm, family)


def _positions(cells: Cells, metered: Metered, floors: dict[tuple[str, str], float | None]) -> list[Position]:
    name, quantity = metered.measure.name, quantity_of(metered.measure)

    def means(variant: str, arm: str) -> Blocks:
        # The wrong clip's name stands where the others have none, so that only whole clips can be paired.
        return {clip: {"": value} for clip, value in _clip_means(cells.blocks(variant, arm, metered, quantity)).items()}

    def family(arm: str) -> list[Contrast]:
        known = [floor for place in (OWN, arm) if (floor := floors.get((place, name))) is not None]
        floor = max(known, default=None)
        pairings: list[Pairing] = []
        for variant, (own, anchor, chance) in found.items():
            other = anchor if arm == REAL else chance
            pairings.append(pair_up(variant, arm, (own, other), (own, other), floor))
        return contrasts(metered.measure, OWN, pairings)

    found: dict[str, tuple[Blocks, Blocks, Blocks]] = {}
    real = means(ANCHOR, REAL)
    for variant in cells.variants:
        own, chance = means(variant, OWN), means(variant, MISMATCHED)
        clips = [clip for clip in own if clip in real and clip in chance]
        if clips:
            own, anchor, chance = ({clip: side[clip] for clip in clips} for side in (own, real, chance))
            found[variant] = own, anchor, chance
    return [
        _position(metered.measure, variant, found[variant], anchored, by_chance)
        for variant, anchored, by_chance in zip(found, family(REAL), family(MISMATCHED), strict=True)
    ]


def _position(
    measure: Measure, variant: str, sides: tuple[Blocks, Blocks, Blocks], anchored: Contrast, by_chance: Contrast
) -> Position:
    own, anchor, chance = (float(np.mean(list(_clip_means(side).values()))) for side in sides)
    # More is better of a value only where the measure says so, and never of a distance.
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
        reason="" if room > 0 else "the real video is no better than chance here",
        against_anchor=anchored,
        against_chance=by_chance,
    )


def _noise(cells: Cells, arm: str, metered: Metered) -> NoiseFloor:
    originals = {cell.name: cell for cell in cells.arm(arm)}
    largest, worst, pairs = -1.0, "", 0
    for rerun in cells.reruns[arm]:
        original = originals.get(replace(rerun.name, rerun=0))
        again, first = metered.value(rerun), None if original is None else metered.value(original)
        if again is not None and first is not None:
            pairs += 1
            if abs(again - first) > largest:
                largest, worst = abs(again - first), rerun.name.label
    seeds: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for cell in originals.values():
        if (value := metered.value(cell)) is not None:
            seeds[cell.name.variant, cell.name.clip, cell.name.speech].append(value)
    variances = [float(np.var(values, ddof=1)) for values in seeds.values() if len(values) > 1]
    return NoiseFloor(
        arm=arm,
        measure=metered.measure.name,
        floor=largest if pairs else None,
        pairs=pairs,
        worst=worst,
        seed_spread=math.sqrt(float(np.mean(variances))) if variances else None,
        seed_groups=len(variances),
    )


def _failures(results: Results, variant: str) -> Failures:
    cells = [cell for cell in results.cells if cell.name.variant == variant]
    reasons = Counter(cell.failure or "no reason given" for cell in cells if cell.state == "failed")
    metrics = Counter(item for cell in cells if cell.state == "done" for item in cell.failed_metrics.items())
    return Failures(
        variant=variant,
        cells=len(cells),
        failed=reasons.total(),
        reasons=tuple(reasons.most_common()),
        metrics=tuple((metric, error, count) for (metric, error), count in metrics.most_common()),
    )
