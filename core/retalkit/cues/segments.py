"""Segments of a diarised recording."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Segment:
    """Time range in which one speaker speaks."""

    speaker: str | None
    start: float
    """Start time in seconds."""
    stop: float
    origin: str


def merge_segments(segments: Iterable[Segment]) -> list[Segment]:
    """Return the segments in order of time, with overlapping segments of one speaker merged.

    All segments have the times of one recording, so that the merged segment contains the same speech.
    """
    merged: list[Segment] = []
    last: dict[str | None, int] = {}
    for segment in sorted(segments, key=lambda segment: (segment.start, segment.stop)):
        number = last.get(segment.speaker)
        if number is not None and segment.start <= merged[number].stop:
            merged[number] = replace(merged[number], stop=max(merged[number].stop, segment.stop))
            continue
        last[segment.speaker] = len(merged)
        merged.append(segment)
    return merged
