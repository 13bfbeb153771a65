"""View models of the report, which contain tables of formatted strings for the templates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from retalkit.comparison.export import to_plain_data
from retalkit.comparison.report import formatting
from retalkit.comparison.report.costs import SPEED, is_cost
from retalkit.comparison.report.findings_text import SIGNIFICANT, verdict_counts
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
"""Maximum number of measure columns per table. A metric with more columns is not split."""
SIGNS: dict[str | None, str] = {
    "better": "▲",
    "worse": "▼",
    "identical": "=",
    "no difference shown": "○",
    "cannot be shown": "?",
}
MEANINGS = {
    REAL: "The unedited clip with its own audio, re-encoded. An ideal method would achieve identical scores.",
    OWN: "Each clip is dubbed with its own audio, so that its own frames are the ground truth.",
    SPEECH: "Each clip is dubbed with each speech listed in the comparison file.",
    MISMATCHED: "The videos of the arm “own audio”, scored against a different clip's audio and lips (chance level).",
    SILENCE: "Each clip is dubbed with silence. The mouth should stay at rest.",
    NOISE: "Each clip is dubbed with noise at the level of its own audio. The mouth should stay at rest.",
}
_NOISY = "Each clip is dubbed with its own audio plus noise at {decibels:g} dB SNR, and scored against the clean audio."


@dataclass(frozen=True, slots=True)
class Cell:
    """Table cell with formatted numbers."""

    mean: str = formatting.NOTHING
    interval: str = ""
    distance: str = ""
    """Mean distance to the ideal value, or an empty string for measures without an ideal value."""
    note: str = ""
    """Note on missing values, such as ``1 undefined``."""
    failed: int = 0
    verdict: Verdict | None = None
    """Verdict of the comparison with the base. None for the base."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Table row of a variant, the real video or the chance level."""

    name: str
    kind: str
    """Row kind: ``base``, ``variant``, or ``reference`` for the real video and chance level."""
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Table:
    """Table with the scores in one arm for a subset of the measures."""

    metrics: list[tuple[str, int]]
    """Pairs of metric name and number of columns."""
    columns: list[Measure]
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class ContrastRow:
    """Table row with the difference of a variant from the base in one measure."""

    measure: str
    variant: str
    difference: str
    interval: str
    unit: str
    p: str
    adjusted: str
    floor: str
    clips: str
    verdict: Verdict
    reason: str


@dataclass(slots=True)
class ArmView:
    """Title, description and tables of one arm."""

    arm: str
    title: str
    meaning: str
    tables: list[Table]
    contrasts: list[ContrastRow]
    verdicts: list[tuple[Verdict, int]]
    failed: int
    cells: int


def arm_views(results: Results, analysis: Analysis) -> list[ArmView]:
    """Return the views of all arms with cells, in canonical order."""
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
                verdicts=verdict_counts(contrasts),
                failed=sum(cell.state == "failed" for cell in cells),
                cells=len(cells),
            )
        )
    return views


def _tables(results: Results, analysis: Analysis, arm: str) -> list[Table]:
    measured = {summary.measure for summary in analysis.summaries if summary.arm == arm}
    packed: list[list[MetricInfo]] = []  # metrics in each table
    room = 0
    for metric in results.metrics:
        count = sum(measure.name in measured for measure in metric.measures)
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
        columns = [measure for metric in metrics for measure in metric.measures if measure.name in measured]
        counts = [(metric.name, sum(measure.name in measured for measure in metric.measures)) for metric in metrics]
        rows = [row for row in _rows(results, analysis, arm, columns) if any(cell != Cell() for cell in row.cells)]
        tables.append(Table(counts, columns, rows))
    return tables


def _rows(results: Results, analysis: Analysis, arm: str, columns: Sequence[Measure]) -> list[Row]:
    def row(name: str, kind: str, variant: str, row_arm: str) -> Row:
        return Row(name, kind, [_cell(analysis, variant, row_arm, measure) for measure in columns])

    if arm == REAL:
        return [row("real video", "reference", ANCHOR, REAL)]
    rows = [
        row(variant.name, "base" if variant.is_base else "variant", variant.name, arm) for variant in results.variants
    ]
    if arm == OWN or arm in NOISY:
        base = next((variant.name for variant in results.variants if variant.is_base), "")
        rows.insert(0, row("real video", "reference", ANCHOR, REAL))
        rows.append(row(f"chance: {base}, mismatched", "reference", base, MISMATCHED))
    return rows


def _cell(analysis: Analysis, variant: str, arm: str, measure: Measure) -> Cell:
    summary = analysis.summary(variant, arm, measure.name)
    if summary is None:
        return Cell()
    contrast = analysis.contrast(variant, arm, measure.name)
    return Cell(
        mean=formatting.number(summary.mean, measure.digits),
        interval=formatting.interval(summary.low, summary.high, measure.digits),
        distance=formatting.number(summary.distance, measure.digits) if math.isfinite(summary.distance) else "",
        note=_missing_note(summary),
        failed=summary.failed,
        verdict=None if contrast is None else contrast.verdict,
        reason="" if contrast is None else contrast.reason,
    )


def _missing_note(summary: Summary) -> str:
    """Return the counts of undefined and absent values as text, or an empty string if the metric is absent from the
    entire arm."""
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
        interval=formatting.interval(contrast.low, contrast.high, measure.digits, signed=True),
        unit=measure.unit,
        p=formatting.probability(contrast.p),
        adjusted=formatting.probability(contrast.adjusted_p),
        floor=formatting.NOTHING if contrast.floor is None else _nonzero(contrast.floor, measure.digits),
        clips=str(contrast.clips) + (f" ({contrast.unpaired} unpaired)" if contrast.unpaired else ""),
        verdict=contrast.verdict,
        reason=contrast.reason,
    )


def _nonzero(value: float, digits: int) -> str:
    """Format a noise floor with ``digits`` decimals, or with one significant digit if the noise floor would be rounded
    to 0."""
    small = 0 < value < 0.5 * 10**-digits
    return f"{value:.1g}" if small else formatting.number(value, digits)


@dataclass(frozen=True, slots=True)
class PositionRow:
    """Table row with a variant's position between chance level and the real video."""

    measure: str
    variant: str
    chance: str
    own: str
    anchor: str
    share: str
    bar: float
    """Share clipped to [0, 1], or NaN if no bar is drawn."""
    against_chance: Contrast
    against_anchor: Contrast
    reason: str


def position_rows(results: Results, analysis: Analysis) -> list[PositionRow]:
    """Return the rows of all measures in which the real video is better than chance level for at least one variant."""
    measures = {measure.name: measure for measure in results.measures()}
    informative = {position.measure for position in analysis.positions if math.isfinite(position.share)}
    return [
        _position(position, measures[position.measure])
        for position in analysis.positions
        if position.measure in informative and position.measure in measures
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
    """Return the speed measure, or None if speed was not measured."""
    return next((measure for measure in results.measures() if measure.name == SPEED), None)


def quality_measures(
    results: Results, analysis: Analysis, arm: str, wanted: Sequence[str], count: int
) -> list[Measure]:
    """Return the quality measures to plot against speed.

    The result contains the measures listed in ``wanted``. If ``wanted`` is empty, the result contains the first
    suitable measure of each metric, for up to ``count`` metrics. Cost metrics are excluded. A measure is unsuitable if
    its mean is equal for all variants.
    """

    def means(measure: Measure) -> list[float]:
        summaries = (each for each in analysis.summaries if each.measure == measure.name and each.arm == arm)
        return [each.mean for each in summaries if each.clips and each.variant != ANCHOR]

    def varies(measure: Measure) -> bool:
        found = means(measure)
        return len(found) == 1 or any(mean != found[0] for mean in found)

    if wanted:
        return [measure for measure in results.measures() if measure.name in wanted and means(measure)]
    chosen = [
        next((measure for measure in metric.measures if means(measure) and varies(measure)), None)
        for metric in results.metrics
        if not is_cost(metric)
    ]
    return [measure for measure in chosen if measure is not None][:count]


def as_yaml(value: Any) -> str:
    """Return plain data formatted as YAML."""
    return yaml.safe_dump(to_plain_data(value), sort_keys=False, allow_unicode=True, width=100)


def weights_summary(variant: VariantInfo) -> tuple[str, list[str]]:
    """Return the total size of a variant's checkpoints and one line per checkpoint."""
    total = sum(int(each.get("bytes") or 0) for each in variant.weights)
    lines: list[str] = []
    for each in variant.weights:
        commercial = {True: "", False: ", non-commercial use only", None: ", commercial use not stated"}
        stated = commercial.get(each.get("commercial_use"), "")
        lines.append(
            f"{each.get('name')} ({formatting.size(int(each.get('bytes') or 0))}, {each.get('licence')}{stated})"
        )
    return (formatting.size(total) if variant.weights else "none"), lines


def significant_first(rows: list[ContrastRow]) -> list[ContrastRow]:
    """Return the rows with significant differences first. The order of the rows is otherwise unchanged."""
    return [row for row in rows if row.verdict in SIGNIFICANT] + [row for row in rows if row.verdict not in SIGNIFICANT]


def metric_starts(table: Table) -> set[int]:
    """Return the indices of the columns at which a new metric starts."""
    ends = itertools.accumulate(count for _, count in table.metrics)
    return set(ends)


def has_verdicts(table: Table) -> bool:
    """Return whether at least one cell has a verdict of a comparison with the base."""
    return any(cell.verdict for row in table.rows for cell in row.cells)
