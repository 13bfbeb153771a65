"""Findings of the report as sentences and lists. Only statistically significant differences are reported as
differences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from retalkit.comparison.report.costs import cost_measures
from retalkit.comparison.report.descriptive_summary import DescriptiveSummary, summarise_untested
from retalkit.comparison.report.formatting import interval, join_words, number, pluralize, share
from retalkit.comparison.report.groups import arm_title
from retalkit.comparison.results import Results
from retalkit.comparison.stats.model import Analysis, Contrast, Failures, Verdict
from retalkit.plugins.metric_specs import Measure

SIGNIFICANT: tuple[Verdict, ...] = ("better", "worse")
VERDICTS: tuple[Verdict, ...] = ("better", "worse", "identical", "no difference shown", "cannot be shown")


@dataclass(slots=True)
class Line:
    """Comparisons between one variant and the base that share a verdict and a reason."""

    verdict: Verdict
    reason: str = ""
    """Reason why no difference can be shown, or an empty string."""
    arms: list[tuple[str, list[str]]] = field(default_factory=list["tuple[str, list[str]]"])
    """Arm titles with their measure titles. Titles of significantly different measures include the effect size."""

    @property
    def count(self) -> int:
        """Number of comparisons, one per measure and arm."""
        return sum(len(measures) for _, measures in self.arms)


@dataclass(slots=True)
class Finding:
    """Findings about one variant in comparison with the base."""

    variant: str
    summary: str
    """Summary in one sentence."""
    counts: dict[Verdict, int]
    lines: list[Line]
    warnings: list[str]
    """Warnings about failed cells and metrics, whose values are missing from all results."""
    descriptive: DescriptiveSummary | None = None
    """Observed differences in contrasts with too few clips for a significance test, or None without such contrasts."""
    same_costs: int = 0
    """Number of cost comparisons with the verdict ``identical``, which ``lines`` omits."""

    @property
    def open_lines(self) -> list[Line]:
        """Lines with significant differences and identical measures, which are always visible."""
        return [line for line in self.lines if line.verdict in (*SIGNIFICANT, "identical")]

    @property
    def collapsed_lines(self) -> list[Line]:
        """Lines with measures that have no significant difference."""
        return [line for line in self.lines if line.verdict == "no difference shown"]

    @property
    def reasons(self) -> list[str]:
        """Reasons why differences cannot be shown, in descending order of frequency."""
        lines = sorted((line for line in self.lines if line.reason), key=lambda line: -line.count)
        return [f"cannot be shown in {line.count}: {line.reason}" for line in lines]


def verdict_counts(contrasts: Iterable[Contrast]) -> list[tuple[Verdict, int]]:
    """Return pairs of verdict and number of contrasts, in the order of ``VERDICTS``."""
    counts = Counter(contrast.verdict for contrast in contrasts)
    return [(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]]


def findings(results: Results, analysis: Analysis) -> list[Finding]:
    """Return the findings for each variant except for the base."""
    measures = {measure.name: measure for measure in results.measures()}
    costs = cost_measures(results)
    found: list[Finding] = []
    for variant in results.variants:
        if variant.is_base:
            continue
        contrasts = [contrast for contrast in analysis.contrasts if contrast.variant == variant.name]
        warnings = [line for each in analysis.failures if each.variant == variant.name for line in _warnings(each)]
        # Steps that a variant shares with the base have identical costs, which the report does not list.
        same = [contrast for contrast in contrasts if contrast.verdict == "identical" and contrast.measure in costs]
        listed = [contrast for contrast in contrasts if contrast not in same]
        found.append(
            Finding(
                variant=variant.name,
                summary=_summary(contrasts),
                counts=dict(verdict_counts(contrasts)),
                lines=_lines(listed, measures),
                warnings=warnings,
                descriptive=summarise_untested(contrasts, measures, costs),
                same_costs=len(same),
            )
        )
    return found


def _warnings(failures: Failures) -> list[str]:
    lines = [f"{failures.failed} of {pluralize(failures.cells, 'cell')} failed"] if failures.failed else []
    errors: dict[str, list[tuple[str, int]]] = {}
    for metric, error, count in failures.metrics:
        errors.setdefault(error, []).append((metric, count))
    for error, metrics in errors.items():
        cells = max(count for _, count in metrics)
        lines.append(f"{join_words([name for name, _ in metrics])} failed in {pluralize(cells, 'cell')}: {error}")
    return lines


def size_of(contrast: Contrast, measure: Measure) -> str:
    """Return a difference with its unit and confidence interval, such as ``opening r +0.20 [+0.11, +0.27]``."""
    distance = contrast.quantity == "distance"
    quantity = f"{measure.title}, distance to {measure.ideal:g}," if distance else measure.title
    unit = f" {measure.unit}" if measure.unit else ""
    bounds = interval(contrast.low, contrast.high, measure.digits, signed=True)
    return f"{quantity} {number(contrast.mean, measure.digits, signed=True)}{unit} {bounds}".rstrip()


def position_shares(
    analysis: Analysis, measures: Mapping[str, Measure]
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return measure titles, and each variant's relative position between chance level (0) and the real video (1).

    Only informative measures are included. A measure is informative if at least one variant is significantly better
    than chance level, or if there are too few clips for a test.
    """
    informative = [
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
        if position.measure in informative:
            row = rows.setdefault(position.variant, [share(math.nan)] * len(informative))
            row[informative.index(position.measure)] = share(position.share)
    return [measures[name].title for name in informative], list(rows.items())


def _summary(contrasts: list[Contrast]) -> str:
    if not contrasts:
        return "no comparison with the base is possible"
    total = len(contrasts)
    counts = Counter(contrast.verdict for contrast in contrasts)
    clips = max(contrast.clips for contrast in contrasts)
    if counts["better"] or counts["worse"]:
        parts = [f"{verdict} in {counts[verdict]}" for verdict in SIGNIFICANT if counts[verdict]]
        return f"{' and '.join(parts)} of {pluralize(total, 'comparison')} with the base"
    if counts["identical"] == total:
        return f"identical to the base in all {pluralize(total, 'comparison')}"
    if counts["cannot be shown"] + counts["identical"] == total:
        return f"a difference of any size cannot be shown with {pluralize(clips, 'clip')}"
    return f"no difference shown in any of {pluralize(total, 'comparison')} with the base"


def _lines(contrasts: list[Contrast], measures: dict[str, Measure]) -> list[Line]:
    lines: dict[tuple[str, str], Line] = {}
    for contrast in sorted(contrasts, key=lambda each: VERDICTS.index(each.verdict)):
        measure = measures.get(contrast.measure)
        if measure is None:
            continue
        # Only the verdict "cannot be shown" is grouped by reason, because all other reasons contain p values.
        reason = contrast.reason if contrast.verdict == "cannot be shown" else ""
        line = lines.setdefault((contrast.verdict, reason), Line(contrast.verdict, reason))
        title = arm_title(contrast.arm)
        if not line.arms or line.arms[-1][0] != title:
            line.arms.append((title, []))
        line.arms[-1][1].append(size_of(contrast, measure) if contrast.verdict in SIGNIFICANT else measure.title)
    return list(lines.values())
