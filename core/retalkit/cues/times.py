"""Times and other numbers in cue sheets."""

from __future__ import annotations

import math
import re

_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")
_SECONDS = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)")


def parse_time(value: object) -> float:
    """Return a time in seconds. Accepted values are numbers, ``12.5``, ``1:02.5`` and ``00:01:02,500``.

    Raises ValueError with the reason if the value is not a finite time of at least 0 s.
    """
    seconds = _seconds(value)
    if seconds is None or not math.isfinite(seconds):
        raise ValueError(f"expected a time such as 12.5 or 00:00:12.500, got {value!r}")
    if seconds < 0:
        raise ValueError(f"the time {seconds:g} s is negative; times count from the start of the video")
    return seconds


def parse_number(value: object, low: float, high: float, unit: str) -> float:
    """Return a number in [low, high]. Raises ValueError with the reason for all other values."""
    number = _seconds(value) if not isinstance(value, str) or ":" not in value else None
    if number is None or not math.isfinite(number):
        raise ValueError(f"expected a number, got {value!r}")
    if not low <= number <= high:
        raise ValueError(f"expected {low:g} to {high:g} {unit}, got {number:g}")
    return number


def _seconds(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if not isinstance(value, str):
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return float(text.replace(",", "."))
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds = int(found[1] or 0), int(found[2]), float(found[3].replace(",", "."))
    return 3600.0 * hours + 60.0 * minutes + seconds if minutes < 60 and seconds < 60 else None
