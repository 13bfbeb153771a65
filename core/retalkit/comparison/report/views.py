"""What the templates show, made ready: tables of texts, in the order of the page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from retalkit.comparison.export import plain
from retalkit.comparison.report import formatting
from retalkit.comparison.report.costs import SPEED, is_cost
from retalkit.comparison.report.findings_text import SHOWN, totals
from retalkit.comparison.report.groups import arm_title
from retalkit.comparison.results import (
    ANCHOR,
    ARMS,
    MISMATCHED,
    NOISE,
    NOISY,
    OWN,
    REAL,
    SILENCE,
    SPEECH,
    MetricInfo,
    Results,
    VariantInfo,
)
from retalkit.comparison.stats.model import Analysis, Contrast, Position, Summary, Verdict
from retalkit.plugins.metric_specs import Measure

COLUMNS = 8
"""Measures beside each other at most, unless one metric has more."""
SIGNS: dict[str | None, str] = {
    "better": "▲",
    "worse": "▼",
    "identical": "=",
    "no difference shown": "○",
    "cannot be shown": "?",
}
MEANINGS = {
    REAL: "The clip itself through the encoder with its own sound, unedited: what a perfect method would give.",
    OWN: "Each clip dubbed with its own sound, so that its own frames are the truth.",
    SPEECH: "Each clip dubbed with words of somebody else.",
    MISMATCHED: "The videos of the arm own sound, scored against sound and lips of another clip: what chance gives.",
    SILENCE: "Each clip dubbed with silence: the mouth should rest.",
    NOISE: "Each clip dubbed with noise as loud as its own sound: the mouth should rest.",
}
_NOISY = "Each clip dubbed with its own sound {decibels:g} dB above noise, scored against the clean sound."


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table."""

    mean: str = formatting.NOTHING
    around: str = ""
    """The interval."""
    distance: str = ""
    """Mean distance to the ideal, where there is one to be near."""
    note: str = ""
    """What is missing, such as ``1 undefined``."""
    failed: int = 0
    verdict: Verdict | None = None
    """Against the base; None for the base itself."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A variant, or what it is held against."""

    name: str
    kind: str
    """``base``, ``variant`` or ``frame``: the real video and chance."""
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Table:
    """Some measures of an arm."""

    metrics: list[tuple[str, int]]
    """Metric and how many columns are its."""
    columns: list[Measure]
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class ContrastRow:
    """A line of the table of contrasts."""

    measure: str
    variant: str
    difference: str
    around: str
    unit: str
    p: str
    adjusted: str
    floor: str
    clips: str
    verdict: Verdict
    reason: str


@dataclass(slots=True)
class ArmView:
    """All numbers of an arm."""

    arm: str
    title: str
    meaning: str
    tables: list[Table]
    contrasts: list[ContrastRow]
    verdicts: list[tuple[Verdict, int]]
    failed: int
    cells: int


def arms_of(results: Results, analysis: Analysis) -> list[ArmView]:
    """Every arm that has cells, in their own order."""
    present = {cell.name.arm for cell in results.cells}
    views: list[ArmView] = []
    for arm in [arm for arm in ARMS if arm in present] + sorted(present.difference(ARMS)):
        cells = [cell for cell in results.cells if cell.name.arm == arm and not cell.name.rerun]
        contrasts = [contrast for contrast in analysis.contrasts if contrast.arm == arm]
        views.append(
            ArmView(
                arm=arm,
                title=arm_title(arm),
                meaning=MEANINGS.get(arm) or (_NOISY.format(decibels=NOISY[arm]) if arm in NOISY else ""),
                tables=_tables(results, analysis, arm),
                contrasts=_contrasts(results, contrasts),
                verdicts=totals(contrasts),
                failed=sum(cell.state == "failed" for cell in cells),
                cells=len(cells),
            )
        )
    return views


def _tables(results: Results, analysis: Analysis, arm: str) -> list[Table]:
    taken = {summary.measure for summary in analysis.summaries if summary.arm == arm}
    packed: list[list[MetricInfo]] = []
    room = 0
    for metric in results.metrics:
        count = sum(measure.name in taken for measure in metric.measures)
        if not count:
            continue
        if packed and count <= room:
            packed[-1].append(metric)
            room -= count
        else:
            packed.append([metric])
            room = COLUMNS - count
    tables: list[Table] = []
    for metrics in packed:
        columns = [measure for metric in metrics for measure in metric.measures if measure.name in taken]
        counts = [(metric.name, sum(measure.name in taken for measure in metric.measures)) for metric in metrics]
        rows = [row for row in _rows(results, analysis, arm, columns) if any(cell != Cell() for cell in row.cells)]
        tables.append(Table(counts, columns, rows))
    return tables


def _rows(results: Results, analysis: Analysis, arm: str, columns: Sequence[Measure]) -> list[Row]:
    def row(name: str, kind: str, variant: str, place: str) -> Row:
        return Row(name, kind, [_cell(analysis, variant, place, measure) for measure in columns])

    if arm == REAL:
        return [row("real video", "frame", ANCHOR, REAL)]
    rows = [
        row(variant.name, "base" if variant.is_base else "variant", variant.name, arm) for variant in results.variants
    ]
    if arm == OWN or arm in NOISY:
        base = next((variant.name for variant in results.variants if variant.is_base), "")
        rows.insert(0, row("real video", "frame", ANCHOR, REAL))
        rows.append(row(f"chance: {base}, mismatched", "frame", base, MISMATCHED))
    return rows


def _cell(analysis: Analysis, variant: str, arm: str, measure: Measure) -> Cell:
    summary = analysis.summary(variant, arm, measure.name)
    if summary is None:
        return Cell()
    contrast = analysis.contrast(variant, arm, measure.name)
    return Cell(
        mean=formatting.number(summary.mean, measure.digits),
        around=formatting.interval(summary.low, summary.high, measure.digits),
        distance=formatting.number(summary.distance, measure.digits) if math.isfinite(summary.distance) else "",
        note=_gaps(summary),
        failed=summary.failed,
        verdict=None if contrast is None else contrast.verdict,
        reason="" if contrast is None else contrast.reason,
    )


def _gaps(summary: Summary) -> str:
    """What a mean leaves out beside failures; nothing where the metric lacks what it needs in the whole arm."""
    parts = [(summary.undefined, "undefined")]
    if summary.absent < summary.cells:
        parts.append((summary.absent, "absent"))
    return ", ".join(f"{count} {word}" for count, word in parts if count)


def _contrasts(results: Results, contrasts: Sequence[Contrast]) -> list[ContrastRow]:
    measures = {measure.name: measure for measure in results.measures()}
    return [_contrast(contrast, measures[contrast.measure]) for contrast in contrasts if contrast.measure in measures]


def _contrast(contrast: Contrast, measure: Measure) -> ContrastRow:
    distance = contrast.quantity == "distance"
    return ContrastRow(
        measure=f"{measure.title}, distance to {measure.ideal:g}" if distance else measure.title,
        variant=contrast.variant,
        difference=formatting.number(contrast.mean, measure.digits, signed=True),
        around=formatting.interval(contrast.low, contrast.high, measure.digits, signed=True),
        unit=measure.unit,
        p=formatting.probability(contrast.p),
        adjusted=formatting.probability(contrast.adjusted_p),
        floor=formatting.NOTHING if contrast.floor is None else _precise(contrast.floor, measure.digits),
        clips=str(contrast.clips) + (f" ({contrast.unpaired} unpaired)" if contrast.unpaired else ""),
        verdict=contrast.verdict,
        reason=contrast.reason,
    )


def _precise(value: float, digits: int) -> str:
    """A floor may be far smaller than what tables show; it must not look like 0 then."""
    small = 0 < value < 0.5 * 10**-digits
    return f"{value:.1g}" if small else formatting.number(value, digits)


@dataclass(frozen=True, slots=True)
class PositionRow:
    """Where a variant stands between chance and the real video."""

    measure: str
    variant: str
    chance: str
    own: str
    anchor: str
    share: str
    bar: float
    """The share in [0, 1]; NaN: no bar."""
    against_chance: Contrast
    against_anchor: Contrast
    reason: str


def positions_of(results: Results, analysis: Analysis) -> list[PositionRow]:
    """Only measures that tell the real video from chance on at least one variant."""
    measures = {measure.name: measure for measure in results.measures()}
    telling = {position.measure for position in analysis.positions if math.isfinite(position.share)}
    return [
        _position(position, measures[position.measure])
        for position in analysis.positions
        if position.measure in telling and position.measure in measures
    ]


def _position(position: Position, measure: Measure) -> PositionRow:
    def text(value: float) -> str:
        return formatting.number(value, measure.digits)

    distance = position.quantity == "distance"
    return PositionRow(
        measure=f"{measure.title}, distance to {measure.ideal:g}" if distance else measure.title,
        variant=position.variant,
        chance=text(position.chance),
        own=text(position.own),
        anchor=text(position.anchor),
        share=formatting.share(position.share),
        bar=min(max(position.share, 0.0), 1.0) if math.isfinite(position.share) else math.nan,
        against_chance=position.against_chance,
        against_anchor=position.against_anchor,
        reason=position.reason,
    )


def speed_measure(results: Results) -> Measure | None:
    """The measure on the x axis of speed against quality."""
    return next((measure for measure in results.measures() if measure.name == SPEED), None)


def quality_measures(
    results: Results, analysis: Analysis, arm: str, wanted: Sequence[str], count: int
) -> list[Measure]:
    """The y axes: those that were asked for, or the first measure of each metric but the one that has the speed. One in
    which all variants are the same shows nothing against speed."""

    def means(measure: Measure) -> list[float]:
        named = (each for each in analysis.summaries if each.measure == measure.name and each.arm == arm)
        return [each.mean for each in named if each.clips and each.variant != ANCHOR]

    def known(measure: Measure) -> bool:
        return bool(means(measure))

    def tells(measure: Measure) -> bool:
        found = means(measure)
        return len(found) == 1 or any(mean != found[0] for mean in found)

    if wanted:
        return [measure for measure in results.measures() if measure.name in wanted and known(measure)]
    firsts = [
        next((measure for measure in metric.measures if known(measure) and tells(measure)), None)
        for metric in results.metrics
        if not is_cost(metric)
    ]
    return [measure for measure in firsts if measure is not None][:count]


def as_yaml(value: Any) -> str:
    """Plain data as a file of this toolkit would write it."""
    return yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=True, width=100)


def weights_of(variant: VariantInfo) -> tuple[str, list[str]]:
    """Size of all checkpoints together, and a line for each."""
    total = sum(int(each.get("bytes") or 0) for each in variant.weights)
    lines: list[str] = []
    for each in variant.weights:
        commercial = {True: "", False: ", not for commercial use", None: ", commercial use not stated"}
        stated = commercial.get(each.get("commercial_use"), "")
        lines.append(
            f"{each.get('name')} ({formatting.size(int(each.get('bytes') or 0))}, {each.get('licence')}{stated})"
        )
    return (formatting.size(total) if variant.weights else "none"), lines


def shown_first(rows: list[ContrastRow]) -> list[ContrastRow]:
    """Differences that were shown, then the rest, each in its order."""
    return [row for row in rows if row.verdict in SHOWN] + [row for row in rows if row.verdict not in SHOWN]


def group_starts(table: Table) -> set[int]:
    """Columns at which another metric begins."""
    ends = itertools.accumulate(count for _, count in table.metrics)
    return set(ends)


def has_signs(table: Table) -> bool:
    """Whether any number was held against the base."""
    return any(cell.verdict for row in table.rows for cell in row.cells)
