"""Formatting of numbers and words for the HTML pages."""

from __future__ import annotations

import math
from typing import Final

from retalkit.plugins.metric_specs import Measure

NOTHING: Final = "–"
MINUS: Final = "\u2212"
_KIB: Final = 1024.0


def number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """Format a number with a fixed number of decimals and a typographic minus sign. A missing number is formatted as a
    dash."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{abs(value):,.{digits}f}".replace(",", "\u202f")
    zero = not text.strip("0.\u202f")
    if value < 0 and not zero:
        return MINUS + text
    return "+" + text if signed and not zero else text


def interval(low: float, high: float, digits: int = 3, signed: bool = False) -> str:
    """Format an interval as ``[low, high]``. A missing interval is formatted as an empty string."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{number(low, digits, signed)}, {number(high, digits, signed)}]"


def probability(value: float | None) -> str:
    """Format a p value with three decimals below 0.1 and with two decimals otherwise."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def share(value: float | None) -> str:
    """Format a fraction as a percentage."""
    return NOTHING if value is None or not math.isfinite(value) else f"{number(100 * value, 0)} %"


def size(count: float) -> str:
    """Format a number of bytes with a binary unit."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(count) < _KIB:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
        count /= _KIB
    return f"{count:.1f} GiB"


def arrow(measure: Measure) -> str:
    """Return a symbol for the direction of improvement."""
    if measure.direction == "nearer":
        return f"→ {measure.ideal:g}"
    return "↑" if measure.direction == "higher" else "↓"


def direction(measure: Measure) -> str:
    """Return a description of the direction of improvement."""
    if measure.direction == "nearer":
        return f"closer to {measure.ideal:g} is better"
    return f"{measure.direction} is better"


def span(measure: Measure) -> str:
    """Format the range of a measure's values."""
    low = f"{measure.low:g}" if math.isfinite(measure.low) else f"{MINUS}∞"
    high = f"{measure.high:g}" if math.isfinite(measure.high) else "∞"
    return f"{low} to {high}".replace("-", MINUS)


def pluralize(count: int, one: str, many: str = "") -> str:
    """Format a count with its noun, such as ``1 clip`` or ``2 clips``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def join_words(words: list[str]) -> str:
    """Join words as ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
