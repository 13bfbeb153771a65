"""Which plots a report has."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from retalkit.comparison.report import views
from retalkit.comparison.report.charts import Point, paired_differences, speed_against_quality
from retalkit.comparison.report.costs import SPEED, cost_measures
from retalkit.comparison.report.findings_text import SHOWN
from retalkit.comparison.report.groups import arm_title
from retalkit.comparison.results import ANCHOR, MISMATCHED, OWN, REAL, SPEECH, Results
from retalkit.comparison.stats.model import Analysis


def speed_plots(results: Results, analysis: Analysis, wanted: Sequence[str], count: int) -> list[tuple[str, Markup]]:
    """Title and plot for each measure of quality, in the arm ``own``; none where no speed was measured."""
    speed = views.speed_measure(results)
    if speed is None:
        return []
    plots: list[tuple[str, Markup]] = []
    for quality in views.quality_measures(results, analysis, OWN, wanted, count):
        points: list[tuple[int, str, Point, Point]] = []
        for position, variant in enumerate(results.variants):
            x = analysis.summary(variant.name, OWN, speed.name)
            y = analysis.summary(variant.name, OWN, quality.name)
            if x is not None and y is not None and x.clips and y.clips:
                points.append(
                    (position, variant.name, Point(x.mean, x.low, x.high), Point(y.mean, y.low, y.high)),
                )
        anchor = analysis.summary(ANCHOR, REAL, quality.name)
        if points:
            real = anchor.mean if anchor is not None and anchor.clips else float("nan")
            name = f"speed-{len(plots)}"
            plots.append((quality.title, speed_against_quality(name, speed, quality, points, real)))
    return plots


def pair_plots(results: Results, analysis: Analysis) -> list[tuple[str, list[tuple[str, Markup]]]]:
    """For every arm its plots: measure and differences to the base.

    In ``own`` and ``speech`` every measure that differs at all; of the costs only the speed. In other arms those that
    ``own`` does not have, and those in which a difference was shown. The tables have the rest.
    """
    places = {variant.name: position for position, variant in enumerate(results.variants)}
    found: list[tuple[str, list[tuple[str, Markup]]]] = []
    arms = list(dict.fromkeys(contrast.arm for contrast in analysis.contrasts))
    own = {contrast.measure for contrast in analysis.contrasts if contrast.arm == OWN and contrast.clips}
    costs = cost_measures(results)
    for arm in sorted((arm for arm in arms if arm != MISMATCHED), key=lambda each: each not in (OWN, SPEECH)):
        plots: list[tuple[str, Markup]] = []
        for measure in results.measures():
            if measure.name in costs - {SPEED}:
                continue
            rows = [
                (places[contrast.variant], contrast)
                for contrast in analysis.contrasts
                if contrast.arm == arm and contrast.measure == measure.name and contrast.clips
            ]
            worth = arm in (OWN, SPEECH) or measure.name not in own or any(each.verdict in SHOWN for _, each in rows)
            if worth and any(value for _, contrast in rows for _, value in contrast.differences):
                name = f"pairs-{len(found)}-{len(plots)}"
                plots.append((measure.title, paired_differences(name, measure, rows)))
        if plots:
            found.append((arm_title(arm), plots))
    return found
