"""What was found, in words. Only what a test has shown is called a difference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from retalkit.comparison.report.costs import cost_measures
from retalkit.comparison.report.formatting import counted, interval, listed, number, share
from retalkit.comparison.report.groups import arm_title
from retalkit.comparison.report.tendencies import Tendency, tendency_of
from retalkit.comparison.results import Results
from retalkit.comparison.stats.model import Analysis, Contrast, Failures, Verdict
from retalkit.plugins.metric_specs import Measure

SHOWN: tuple[Verdict, ...] = ("better", "worse")
VERDICTS: tuple[Verdict, ...] = ("better", "worse", "identical", "no difference shown", "cannot be shown")


@dataclass(slots=True)
class Line:
    """All of a variant that got the same verdict for the same reason."""

    verdict: Verdict
    reason: str = ""
    """Why it cannot be shown; else empty."""
    places: list[tuple[str, list[str]]] = field(default_factory=list["tuple[str, list[str]]"])
    """Title of an arm, and of the measures; for differences with their size."""

    @property
    def count(self) -> int:
        """Measures, once in each arm."""
        return sum(len(measures) for _, measures in self.places)


@dataclass(slots=True)
class Finding:
    """What is said of a variant against the base."""

    variant: str
    lead: str
    """In words."""
    counts: dict[Verdict, int]
    lines: list[Line]
    warnings: list[str]
    """What failed, and so is in none of the numbers."""
    tendency: Tendency | None = None
    """What the clips showed where they are too few for a test."""
    same_costs: int = 0
    """Costs that are identical, once in each arm: the lines leave them out."""

    @property
    def open_lines(self) -> list[Line]:
        """What is worth reading at once: differences, and where there is none at all."""
        return [line for line in self.lines if line.verdict in (*SHOWN, "identical")]

    @property
    def quiet_lines(self) -> list[Line]:
        """What could not be told from chance."""
        return [line for line in self.lines if line.verdict == "no difference shown"]

    @property
    def reasons(self) -> list[str]:
        """Why something cannot be shown, the most frequent first."""
        lines = sorted((line for line in self.lines if line.reason), key=lambda line: -line.count)
        return [f"{line.count} cannot be shown: {line.reason}" for line in lines]


def totals(contrasts: Iterable[Contrast]) -> list[tuple[Verdict, int]]:
    """How often each verdict was given, in their own order."""
    counts = Counter(contrast.verdict for contrast in contrasts)
    return [(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]]


def findings(results: Results, analysis: Analysis) -> list[Finding]:
    """One for each variant but the base."""
    measures = {measure.name: measure for measure in results.measures()}
    costs = cost_measures(results)
    found: list[Finding] = []
    for variant in results.variants:
        if variant.is_base:
            continue
        mine = [contrast for contrast in analysis.contrasts if contrast.variant == variant.name]
        warnings = [line for each in analysis.failures if each.variant == variant.name for line in _failed(each)]
        # The steps that a variant shares with the base cost the same: no news.
        same = [contrast for contrast in mine if contrast.verdict == "identical" and contrast.measure in costs]
        told = [contrast for contrast in mine if contrast not in same]
        found.append(
            Finding(
                variant=variant.name,
                lead=_lead(mine),
                counts=dict(totals(mine)),
                lines=_lines(told, measures),
                warnings=warnings,
                tendency=tendency_of(mine, measures, costs),
                same_costs=len(same),
            )
        )
    return found


def _failed(failures: Failures) -> list[str]:
    lines = [f"{failures.failed} of {counted(failures.cells, 'cell')} failed"] if failures.failed else []
    errors: dict[str, list[tuple[str, int]]] = {}
    for metric, error, count in failures.metrics:
        errors.setdefault(error, []).append((metric, count))
    for error, metrics in errors.items():
        cells = max(count for _, count in metrics)
        lines.append(f"{listed([name for name, _ in metrics])} failed in {counted(cells, 'cell')}: {error}")
    return lines


def size_of(contrast: Contrast, measure: Measure) -> str:
    """``opening r +0.20 [+0.11, +0.27]``; for distances to an ideal it says so."""
    what = f"{measure.title}'s distance to {measure.ideal:g}" if contrast.quantity == "distance" else measure.title
    unit = f" {measure.unit}" if measure.unit else ""
    around = interval(contrast.low, contrast.high, measure.digits, signed=True)
    return f"{what} {number(contrast.mean, measure.digits, signed=True)}{unit} {around}".rstrip()


def standing(analysis: Analysis, measures: Mapping[str, Measure]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Where variants stand between chance and the real video: titles of measures, and for each variant its shares.

    Only measures that can tell: those in which a variant was shown to be better than chance, or which have too few
    clips to show it.
    """
    telling = [
        name
        for name in measures
        if any(
            position.measure == name
            and position.quantity == "value"
            and math.isfinite(position.share)
            and position.against_chance.verdict in ("better", "cannot be shown")
            for position in analysis.positions
        )
    ]
    rows: dict[str, list[str]] = {}
    for position in analysis.positions:
        if position.measure in telling:
            row = rows.setdefault(position.variant, [share(math.nan)] * len(telling))
            row[telling.index(position.measure)] = share(position.share)
    return [measures[name].title for name in telling], list(rows.items())


def _lead(mine: list[Contrast]) -> str:
    if not mine:
        return "nothing could be compared with the base"
    counts = Counter(contrast.verdict for contrast in mine)
    clips = max(contrast.clips for contrast in mine)
    if counts["better"] or counts["worse"]:
        parts = [f"{verdict} in {counts[verdict]}" for verdict in SHOWN if counts[verdict]]
        return f"{' and '.join(parts)} of {counted(len(mine), 'comparison')} with the base"
    if counts["identical"] == len(mine):
        return f"identical to the base in all {counted(len(mine), 'comparison')}"
    if counts["cannot be shown"] + counts["identical"] == len(mine):
        return f"a difference cannot be shown with {counted(clips, 'clip')}, however large it may be"
    return f"no difference shown in any of {counted(len(mine), 'comparison')} with the base"


def _lines(mine: list[Contrast], measures: dict[str, Measure]) -> list[Line]:
    lines: dict[tuple[str, str], Line] = {}
    for contrast in sorted(mine, key=lambda each: VERDICTS.index(each.verdict)):
        measure = measures.get(contrast.measure)
        if measure is None:
            continue
        # Where nothing was measured the table says so; p values differ from each other, a lack of clips does not.
        reason = contrast.reason if contrast.verdict == "cannot be shown" else ""
        line = lines.setdefault((contrast.verdict, reason), Line(contrast.verdict, reason))
        title = arm_title(contrast.arm)
        if not line.places or line.places[-1][0] != title:
            line.places.append((title, []))
        line.places[-1][1].append(size_of(contrast, measure) if contrast.verdict in SHOWN else measure.title)
    return list(lines.values())
