"""Charts of the report as inline SVG. Colours are CSS variables, so that the charts adapt to light and dark mode."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from retalkit.comparison.report import views
from retalkit.comparison.report.costs import SPEED, cost_measures
from retalkit.comparison.report.findings_text import SIGNIFICANT
from retalkit.comparison.report.formatting import arrow
from retalkit.comparison.report.groups import arm_title
from retalkit.comparison.results import ANCHOR, MISMATCHED, OWN, REAL, SPEECH, Results
from retalkit.comparison.stats.model import Analysis, Contrast
from retalkit.plugins.metric_specs import Measure

COLOURS: Final = 8
"""Number of variant colours in the style sheet. Additional variants reuse colours with different markers."""
_MAX_LABEL: Final = 40
_MARKERS: Final = "osD^vP*X"
_PLACEHOLDERS: Final = {
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    "#030303": "var(--line)",
    "#040404": "var(--band)",
    **{f"#0505{index + 1:02x}": f"var(--v{index})" for index in range(COLOURS)},
}
"""Mapping from the placeholder colour passed to matplotlib to the CSS colour in the SVG."""
_INK, _FAINT, _LINE, _BAND = "#010101", "#020202", "#030303", "#040404"
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "font.size": 9.0,
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.unicode_minus": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean with its confidence interval. Missing numbers are NaN."""

    mean: float
    low: float
    high: float


def colour_of(position: int) -> str:
    """Return the CSS colour for the variant at the given index in the comparison."""
    return f"var(--v{position % COLOURS})"


def speed_plots(results: Results, analysis: Analysis, wanted: Sequence[str], count: int) -> list[tuple[str, Markup]]:
    """Return charts of speed against quality in the arm ``own``, with their titles. The list is empty if speed was not
    measured.

    ``wanted`` lists the quality measures. If ``wanted`` is empty, up to ``count`` measures are selected automatically.
    """
    speed = views.speed_measure(results)
    if speed is None:
        return []
    plots: list[tuple[str, Markup]] = []
    for quality in views.quality_measures(results, analysis, OWN, wanted, count):
        points: list[tuple[int, str, Estimate, Estimate]] = []
        for position, variant in enumerate(results.variants):
            x = analysis.summary(variant.name, OWN, speed.name)
            y = analysis.summary(variant.name, OWN, quality.name)
            if x is not None and y is not None and x.clips and y.clips:
                estimates = Estimate(x.mean, x.low, x.high), Estimate(y.mean, y.low, y.high)
                points.append((position, variant.name, *estimates))
        anchor = analysis.summary(ANCHOR, REAL, quality.name)
        if points:
            real = anchor.mean if anchor is not None and anchor.clips else float("nan")
            name = f"speed-{len(plots)}"
            plots.append((quality.title, speed_against_quality(name, speed, quality, points, real)))
    return plots


def pair_plots(results: Results, analysis: Analysis) -> list[tuple[str, list[tuple[str, Markup]]]]:
    """Return the charts of paired differences from the base, with their measure titles, for every arm.

    In the arms ``own`` and ``speech``, all measures with a nonzero difference have a chart, except for cost measures
    other than speed. In the other arms, only measures that are absent from ``own`` and measures with a significant
    difference have charts. The report's tables contain all measures.
    """
    positions = {variant.name: position for position, variant in enumerate(results.variants)}
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
                (positions[contrast.variant], contrast)
                for contrast in analysis.contrasts
                if contrast.arm == arm and contrast.measure == measure.name and contrast.clips
            ]
            relevant = (
                arm in (OWN, SPEECH) or measure.name not in own or any(each.verdict in SIGNIFICANT for _, each in rows)
            )
            if relevant and any(value for _, contrast in rows for _, value in contrast.differences):
                name = f"pairs-{len(found)}-{len(plots)}"
                plots.append((measure.title, paired_differences(name, measure, rows)))
        if plots:
            found.append((arm_title(arm), plots))
    return found


def speed_against_quality(
    name: str,
    speed: Measure,
    quality: Measure,
    points: Sequence[tuple[int, str, Estimate, Estimate]],
    anchor: float = math.nan,
) -> Markup:
    """Return a scatter plot with one marker and two confidence intervals per variant.

    Args:
        name: prefix of element ids, which must be unique on the page.
        speed: measure on the x axis.
        quality: measure on the y axis.
        points: variant index in the comparison, variant name, speed and quality for each marker.
        anchor: quality of the real video, which is drawn as a line, or NaN for no line.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(5.8, 3.1 + 0.1 * len(points)), layout="constrained")
        axes: Any = figure.add_subplot()
        for position, variant, x, y in points:
            axes.errorbar(
                [x.mean], [y.mean], xerr=_error_bars(x), yerr=_error_bars(y), fmt=_marker(position), markersize=7,
                color=_placeholder(position), elinewidth=1.2, capsize=0, label=_shorten(variant),
            )  # fmt: skip
        if math.isfinite(anchor):
            axes.axhline(anchor, color=_FAINT, linewidth=1, linestyle=(0, (4, 3)), label="real video")
        axes.set_xlabel(_axis_label(speed))
        axes.set_ylabel(_axis_label(quality))
        axes.margins(0.15)
        axes.set_xlim(left=0)
        axes.grid(color=_LINE, linewidth=0.5)
        axes.set_axisbelow(True)
        legend = figure.legend(loc="outside lower left", frameon=False, ncols=2)
        _disable_math([*legend.get_texts(), axes.xaxis.label, axes.yaxis.label])
        description = "; ".join(f"{variant}: {x.mean:.3g} and {y.mean:.3g}" for _, variant, x, y in points)
        return _svg(figure, name, f"{speed.title} against {quality.title}", description)


def paired_differences(name: str, measure: Measure, contrasts: Sequence[tuple[int, Contrast]]) -> Markup:
    """Return a dot plot of the differences from the base, with one dot per clip, the mean and its confidence interval.

    Args:
        name: prefix of element ids, which must be unique on the page.
        measure: measure to plot.
        contrasts: pairs of variant index in the comparison and contrast. At least one contrast is required.
    """
    with rc_context(_STYLE):
        # Margins have a fixed size in inches, because automatic layout would take half of the rendering time.
        names = [_shorten(contrast.variant) for _, contrast in contrasts]
        left, foot, high = 0.2 + 0.073 * max(map(len, names)), 0.5, 0.65 + 0.34 * len(contrasts)
        wide = max(4.6, left + 3.2)
        figure = Figure(figsize=(wide, high))
        axes: Any = figure.add_axes((left / wide, foot / high, (wide - left - 0.1) / wide, (high - foot - 0.08) / high))
        floor = max((contrast.floor or 0.0 for _, contrast in contrasts), default=0.0)
        if floor > 0:
            axes.axvspan(-floor, floor, color=_BAND, linewidth=0)
        axes.axvline(0, color=_FAINT, linewidth=1)
        for row, (position, contrast) in enumerate(contrasts):
            colour = _placeholder(position)
            values = [value for _, value in contrast.differences]
            axes.plot(values, [row] * len(values), _marker(position), color=colour, markersize=4, alpha=0.55)
            if math.isfinite(contrast.low):
                axes.plot([contrast.low, contrast.high], [row + 0.28] * 2, color=colour, linewidth=2)
            axes.plot([contrast.mean], [row + 0.28], "|", color=colour, markersize=9, markeredgewidth=2)
        axes.set_yticks(range(len(contrasts)), names)
        axes.set_ylim(len(contrasts) - 0.3, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=_LINE, linewidth=0.5)
        axes.set_axisbelow(True)
        distance = contrasts[0][1].quantity == "distance"
        quantity = f"distance to {measure.ideal:g}" if distance else "difference"
        better = "←" if distance or measure.direction == "lower" else "→"
        axes.set_xlabel(f"{quantity}{f', {measure.unit}' if measure.unit else ''} (better {better})")
        _disable_math([*axes.get_yticklabels(), axes.xaxis.label])
        description = "; ".join(f"{contrast.variant}: mean {contrast.mean:+.3g}" for _, contrast in contrasts)
        return _svg(figure, name, f"{measure.title}: difference from {contrasts[0][1].against} per clip", description)


def _shorten(name: str) -> str:
    """Shorten a long name in the middle, because names of grid variants differ at both ends."""
    half = _MAX_LABEL // 2
    return name if len(name) <= _MAX_LABEL else f"{name[: half - 1]}…{name[-half:]}"


def _axis_label(measure: Measure) -> str:
    unit = f", {measure.unit}" if measure.unit else ""
    return f"{measure.title}{unit} ({arrow(measure)})"


def _error_bars(estimate: Estimate) -> list[list[float]] | None:
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return None
    return [[max(estimate.mean - estimate.low, 0.0)], [max(estimate.high - estimate.mean, 0.0)]]


def _marker(position: int) -> str:
    return _MARKERS[(position + position // COLOURS) % len(_MARKERS)]


def _placeholder(position: int) -> str:
    return f"#0505{position % COLOURS + 1:02x}"


def _disable_math(texts: Sequence[Any]) -> None:
    """Disable matplotlib's math mode, so that dollar signs in names are rendered literally."""
    for text in texts:
        text.set_parse_math(False)


def _svg(figure: Figure, name: str, title: str, description: str) -> Markup:
    """Return the figure as an ``<svg>`` element with unique ids, and with a title and description for screen
    readers."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    for placeholder, colour in _PLACEHOLDERS.items():
        text = text.replace(placeholder, colour)
    text = re.sub(r'<svg ([^>]*?)width="([\d.]+)pt" height="([\d.]+)pt"', _size_in_pixels, text, count=1)
    label = f'<svg role="img" aria-labelledby="{name}-title {name}-description" '
    title_element = f'<title id="{name}-title">{escape(title)}</title>'
    inner = f'{title_element}<desc id="{name}-description">{escape(description)}</desc>'
    head, _, rest = text.partition(">")
    return Markup(label + head.removeprefix("<svg ") + ">" + inner + rest)


def _size_in_pixels(found: re.Match[str]) -> str:
    """Convert the SVG size from points (1/72 inch) to CSS pixels (1/96 inch)."""
    width, height = (float(found[number]) * 96 / 72 for number in (2, 3))
    return f'<svg {found[1]}width="{width:.0f}" height="{height:.0f}"'
