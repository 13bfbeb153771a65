"""Results of quality gates, and their description in tables and messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from retalkit.batch.gate_limits import MINIMUMS

Verdict = Literal["passed", "review", "not measured"]
EDGE: Final = 1e-4
"""Tolerance of comparisons with limits, and of times in seconds."""
_SHOWN_RANGES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """Result of one gate for one output."""

    gate: str
    verdict: Verdict
    value: float | None = None
    limit: float | None = None
    text: str = ""
    """What was measured, or the reason why it was not measured."""
    frames: list[list[int]] = field(default_factory=list[list[int]])
    """Ranges [first, last] of the output frames that need review, both inclusive."""
    seconds: list[float] = field(default_factory=list[float])
    """Time of the first frame of each range, in seconds of the output."""


def verdict_of(is_good: bool) -> Verdict:
    """Return the verdict of a gate that was measured."""
    return "passed" if is_good else "review"


def needs_review(results: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether any gate's result exceeds its limit."""
    return any(each["verdict"] == "review" for each in results)


def review_text(results: Iterable[Mapping[str, Any]]) -> str:
    """Describe the gates whose limits are exceeded in one line: value, limit, measurement and frame numbers."""
    return "; ".join(_described(each) for each in results if each["verdict"] == "review")


def frames_text(ranges: Sequence[Sequence[int]], most: int | None = None) -> str:
    """Format ranges of frames, such as ``12-40, 77``. Only the first ``most`` ranges are written."""
    texts = [f"{first}-{last}" if last > first else str(first) for first, last in ranges[:most]]
    left = len(ranges) - len(texts)
    return ", ".join(texts) + (f" and {left} more range{'s' if left > 1 else ''}" if left else "")


def mask_of(ranges: Iterable[Sequence[float]], times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which times are in one of the ranges [start, end) in seconds, bool [T]."""
    mask = np.zeros(len(times), np.bool_)
    for start, end in ranges:
        mask |= (times >= start - EDGE) & (times < end - EDGE)
    return mask


def runs_of(mask: NDArray[np.bool_]) -> list[list[int]]:
    """Return the first and last index of each run of True values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [[int(first), int(stop) - 1] for first, stop in zip(edges[::2], edges[1::2], strict=True)]


def _described(result: Mapping[str, Any]) -> str:
    name, value, frames = str(result["gate"]), result.get("value"), result.get("frames", ())
    if value is not None:
        kind = "minimum" if name in MINIMUMS else "maximum"
        name = f"{name} {value:g} ({kind} {result['limit']:g})"
    return f"{name}: {result['text']}" + (f", frames {frames_text(frames, _SHOWN_RANGES)}" if frames else "")
