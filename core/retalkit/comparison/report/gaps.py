"""What has no number, and why: nothing that is missing is left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from retalkit.comparison.results import MISMATCHED, SILENCE, Results
from retalkit.media.sound import SILENT


@dataclass(slots=True)
class Gaps:
    """What has no number, and why."""

    cells: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Label of a failed cell, and its line."""
    metrics: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Label of a cell, metric, error."""
    absent: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    """Metric, reason, cells."""
    unavailable: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Metric that was measured nowhere, and why."""
    notes: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """What runs had to say, and in how many cells; not that the silence of the arm ``silence`` is silent."""
    videos: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Label of a cell whose video cannot be shown, and why."""


def gaps_of(results: Results, videos: dict[str, str]) -> Gaps:
    """All gaps of a comparison.

    Args:
        results: the comparison.
        videos: key of a cell whose video cannot be shown -> why.
    """
    found = Gaps()
    absent: Counter[tuple[str, str]] = Counter()
    notes: Counter[str] = Counter()
    for cell in results.cells:
        if cell.state == "failed":
            found.cells.append((cell.name.label, cell.failure or "no reason given"))
        found.metrics += [(cell.name.label, metric, error) for metric, error in cell.failed_metrics.items()]
        absent.update(cell.absent.items())
        # That its sound is silent is what the arm is for.
        notes.update(note for note in cell.notes if cell.name.arm != SILENCE or SILENT not in note)
        if cell.key in videos and cell.name.arm != MISMATCHED:
            found.videos.append((cell.name.label, videos[cell.key]))
    found.unavailable = [(metric.name, metric.unavailable) for metric in results.metrics if metric.unavailable]
    named = dict(found.unavailable)
    found.absent = [
        (metric, reason, count) for (metric, reason), count in absent.items() if named.get(metric) != reason
    ]
    found.notes = notes.most_common()
    return found
