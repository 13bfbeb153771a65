"""Plots as SVG that stands inside a page: its colours are the page's, so that they follow light and dark."""

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

from retalkit.comparison.report.formatting import arrow
from retalkit.comparison.stats.model import Contrast
from retalkit.plugins.metric_specs import Measure

COLOURS: Final = 8
"""Colours of the style sheet; more variants repeat them with other markers."""
_LONGEST: Final = 40
_MARKERS: Final = "osD^vP*X"
_STAND_INS: Final = {
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    "#030303": "var(--line)",
    "#040404": "var(--band)",
    **{f"#0505{index + 1:02x}": f"var(--v{index})" for index in range(COLOURS)},
}
"""What matplotlib is told -> what the page says."""
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
class Point:
    """A mean with its interval; NaN where there is none."""

    mean: float
    low: float
    high: float


def colour_of(position: int) -> str:
    """The colour of the variant at this position of the comparison, as the page's style sheet calls it."""
    return f"var(--v{position % COLOURS})"


def speed_against_quality(
    name: str,
    speed: Measure,
    quality: Measure,
    points: Sequence[tuple[int, str, Point, Point]],
    anchor: float = math.nan,
) -> Markup:
    """One marker for each variant with crossed intervals.

    Args:
        name: distinguishes this plot from others on the page.
        speed: measure of the x axis.
        quality: measure of the y axis.
        points: position of the variant in the comparison, its name, its speed, its quality.
        anchor: quality of the real video; NaN: not drawn.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(5.8, 3.1 + 0.1 * len(points)), layout="constrained")
        axes: Any = figure.add_subplot()
        for position, variant, x, y in points:
            axes.errorbar(
                [x.mean], [y.mean], xerr=_reach(x), yerr=_reach(y), fmt=_marker(position), markersize=7,
                color=_stand_in(position), elinewidth=1.2, capsize=0, label=_short(variant),
            )  # fmt: skip
        if math.isfinite(anchor):
            axes.axhline(anchor, color=_FAINT, linewidth=1, linestyle=(0, (4, 3)), label="real video")
        axes.set_xlabel(_axis(speed))
        axes.set_ylabel(_axis(quality))
        axes.margins(0.15)
        axes.set_xlim(left=0)
        axes.grid(color=_LINE, linewidth=0.5)
        axes.set_axisbelow(True)
        legend = figure.legend(loc="outside lower left", frameon=False, ncols=2)
        _plain([*legend.get_texts(), axes.xaxis.label, axes.yaxis.label])
        told = "; ".join(f"{variant}: {x.mean:.3g} and {y.mean:.3g}" for _, variant, x, y in points)
        return _svg(figure, name, f"{speed.title} against {quality.title}", told)


def paired_differences(name: str, measure: Measure, contrasts: Sequence[tuple[int, Contrast]]) -> Markup:
    """For each variant the differences to the base, a dot for each clip, with their mean and its interval.

    Args:
        name: distinguishes this plot from others on the page.
        measure: what differs.
        contrasts: position of the variant in the comparison, and its contrast; at least one.
    """
    with rc_context(_STYLE):
        # Margins in inches, since laying out by the texts' true sizes takes half of the time.
        names = [_short(contrast.variant) for _, contrast in contrasts]
        left, foot, high = 0.2 + 0.073 * max(map(len, names)), 0.5, 0.65 + 0.34 * len(contrasts)
        wide = max(4.6, left + 3.2)
        figure = Figure(figsize=(wide, high))
        axes: Any = figure.add_axes((left / wide, foot / high, (wide - left - 0.1) / wide, (high - foot - 0.08) / high))
        floor = max((contrast.floor or 0.0 for _, contrast in contrasts), default=0.0)
        if floor > 0:
            axes.axvspan(-floor, floor, color=_BAND, linewidth=0)
        axes.axvline(0, color=_FAINT, linewidth=1)
        for row, (position, contrast) in enumerate(contrasts):
            colour = _stand_in(position)
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
        what = f"distance to {measure.ideal:g}" if distance else "difference"
        better = "←" if distance or measure.direction == "lower" else "→"
        axes.set_xlabel(f"{what}{f', {measure.unit}' if measure.unit else ''} (better {better})")
        _plain([*axes.get_yticklabels(), axes.xaxis.label])
        told = "; ".join(f"{contrast.variant}: mean {contrast.mean:+.3g}" for _, contrast in contrasts)
        return _svg(figure, name, f"{measure.title}: each clip against {contrasts[0][1].against}", told)


def _short(name: str) -> str:
    """A name that leaves room for the plot; names of a grid differ at either end."""
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[: half - 1]}…{name[-half:]}"


def _axis(measure: Measure) -> str:
    unit = f", {measure.unit}" if measure.unit else ""
    return f"{measure.title}{unit} ({arrow(measure)})"


def _reach(point: Point) -> list[list[float]] | None:
    if not (math.isfinite(point.low) and math.isfinite(point.high)):
        return None
    return [[max(point.mean - point.low, 0.0)], [max(point.high - point.mean, 0.0)]]


def _marker(position: int) -> str:
    return _MARKERS[(position + position // COLOURS) % len(_MARKERS)]


def _stand_in(position: int) -> str:
    return f"#0505{position % COLOURS + 1:02x}"


def _plain(texts: Sequence[Any]) -> None:
    """A dollar sign in a name is a dollar sign."""
    for text in texts:
        text.set_parse_math(False)


def _svg(figure: Figure, name: str, title: str, told: str) -> Markup:
    """The figure as an ``<svg>`` with ids of its own and with a title for readers that do not see it."""
    kept = io.StringIO()
    FigureCanvasSVG(figure).print_svg(kept, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = kept.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    for stand_in, colour in _STAND_INS.items():
        text = text.replace(stand_in, colour)
    text = re.sub(r'<svg ([^>]*?)width="([\d.]+)pt" height="([\d.]+)pt"', _sized, text, count=1)
    label = f'<svg role="img" aria-labelledby="{name}-title {name}-told" '
    inner = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-told">{escape(told)}</desc>'
    head, _, rest = text.partition(">")
    return Markup(label + head.removeprefix("<svg ") + ">" + inner + rest)


def _sized(found: re.Match[str]) -> str:
    """Points of 1/72 inch as pixels of 1/96 inch; the page may make it narrower."""
    width, height = (float(found[number]) * 96 / 72 for number in (2, 3))
    return f'<svg {found[1]}width="{width:.0f}" height="{height:.0f}"'
