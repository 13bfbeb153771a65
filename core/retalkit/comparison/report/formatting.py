"""Numbers and words as pages write them."""

from __future__ import annotations

import math
from typing import Final

from retalkit.plugins.metric_specs import Measure

NOTHING: Final = "–"
MINUS: Final = "\u2212"
_HALVES: Final = 1024.0


def number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """A number with a fixed count of digits and a true minus sign; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{abs(value):,.{digits}f}".replace(",", "\u202f")
    zero = not text.strip("0.\u202f")
    if value < 0 and not zero:
        return MINUS + text
    return "+" + text if signed and not zero else text


def interval(low: float, high: float, digits: int = 3, signed: bool = False) -> str:
    """``[low, high]``, or nothing where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{number(low, digits, signed)}, {number(high, digits, signed)}]"


def probability(value: float | None) -> str:
    """A p value with the precision that it deserves."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def share(value: float | None) -> str:
    """A share as a percentage."""
    return NOTHING if value is None or not math.isfinite(value) else f"{number(100 * value, 0)} %"


def size(count: float) -> str:
    """Bytes in a unit that fits."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(count) < _HALVES:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
        count /= _HALVES
    return f"{count:.1f} GiB"


def arrow(measure: Measure) -> str:
    """Which way is better, as a sign."""
    if measure.direction == "nearer":
        return f"→ {measure.ideal:g}"
    return "↑" if measure.direction == "higher" else "↓"


def direction(measure: Measure) -> str:
    """Which way is better, in words."""
    if measure.direction == "nearer":
        return f"nearer to {measure.ideal:g} is better"
    return f"{measure.direction} is better"


def span(measure: Measure) -> str:
    """The range of possible values."""
    low = f"{measure.low:g}" if math.isfinite(measure.low) else f"{MINUS}∞"
    high = f"{measure.high:g}" if math.isfinite(measure.high) else "∞"
    return f"{low} to {high}".replace("-", MINUS)


def counted(count: int, one: str, many: str = "") -> str:
    """``1 clip``, ``2 clips``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def listed(words: list[str]) -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
