"""Limits of the quality gates, which decide whether a finished job needs review."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from retalkit.errors import BatchError
from retalkit.plugins.registry import nearest

OFF: Final = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """Limits of all gates. A gate with the limit None is not evaluated."""

    drift: float | None = 1.0
    """Maximum difference between the audio track and the video track at the start and at the end, in frames."""
    edited: float | None = 0.5
    """Minimum share of edited frames, in [0, 1]. Frames outside the cues are not counted."""
    face_lost: float | None = 0.2
    """Maximum share of frames in which the person's face was not found or not recognised, in [0, 1]."""
    silence: float | None = None
    """Maximum share of the frames without speech in which the mouth moves, in [0, 1]."""
    damaged: float | None = 0.0
    """Maximum share of the video's frames that cannot be decoded, in [0, 1]."""
    lips: float | None = 0.3
    """Minimum correlation of the mouth opening with the reference video or the transcript, in [-1, 1]. The gate is
    evaluated only if the job has a reference or a transcript."""

    def plain(self) -> dict[str, float | None]:
        """Return the limits as JSON-compatible data."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


GATES: Final = tuple(each.name for each in fields(GateLimits))
MINIMUMS: Final = ("edited", "lips")
"""Gates whose limit is a minimum. The limits of the other gates are maximums."""
_RANGES: Final = {
    "drift": (0.0, 1000.0),
    "edited": (0.0, 1.0),
    "face_lost": (0.0, 1.0),
    "silence": (0.0, 1.0),
    "damaged": (0.0, 1.0),
    "lips": (-1.0, 1.0),
}


def read_limits(given: Mapping[str, Any], origin: Mapping[str, str] | None = None) -> GateLimits:
    """Return the limits with the values ``given`` (a number or ``off``) instead of the defaults.

    ``origin``: mapping from gate to the source of its value for messages. Raises BatchError if a gate is unknown or a
    value is invalid.
    """
    values: dict[str, float | None] = {}
    for name, value in given.items():
        where = f"{origin[name]}: " if origin and name in origin else ""
        if name not in GATES:
            hint = nearest(name, GATES) or f"; available: {', '.join(GATES)}"
            raise BatchError(f"{where}unknown gate '{name}'{hint}", code="unknown-option")
        if value == OFF:
            values[name] = None
            continue
        low, high = _RANGES[name]
        try:
            number = float(value) if not isinstance(value, bool) else float("nan")
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not low <= number <= high:
            text = f"{where}gates.{name}: expected a number from {low:g} to {high:g} or off, got {value!r}"
            raise BatchError(text, code="invalid-option")
        values[name] = number
    return GateLimits(**values)
