"""Missing values of a comparison with their reasons: failures, absent inputs, unavailable metrics and run notes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from retalkit.comparison.results import MISMATCHED, SILENCE, Results
from retalkit.media.sound import SILENT


@dataclass(slots=True)
class MissingData:
    """Missing values of a comparison with their reasons."""

    cells: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Labels and error messages of the failed cells."""
    metrics: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Cell label, metric and error message of each failed metric."""
    absent: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    """Metric, reason and number of cells for each absent metric input."""
    unavailable: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Metrics that are unavailable in this installation, with reasons."""
    notes: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """Run notes with the number of affected cells. The expected note about silent input in the arm ``silence`` is
    excluded."""
    videos: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Labels of cells whose videos cannot be shown, with reasons."""


def collect_missing_data(results: Results, videos: dict[str, str]) -> MissingData:
    """Collect the missing values of a comparison.

    Args:
        results: the comparison's results.
        videos: mapping from cell key to the reason why the cell's video cannot be shown.
    """
    found = MissingData()
    absent: Counter[tuple[str, str]] = Counter()
    notes: Counter[str] = Counter()
    for cell in results.cells:
        if cell.state == "failed":
            found.cells.append((cell.name.label, cell.failure or "unknown reason"))
        found.metrics += [(cell.name.label, metric, error) for metric, error in cell.failed_metrics.items()]
        absent.update(cell.absent.items())
        # Silent input is expected in the arm `silence`.
        notes.update(note for note in cell.notes if cell.name.arm != SILENCE or SILENT not in note)
        if cell.key in videos and cell.name.arm != MISMATCHED:
            found.videos.append((cell.name.label, videos[cell.key]))
    found.unavailable = [(metric.name, metric.unavailable) for metric in results.metrics if metric.unavailable]
    unavailable = dict(found.unavailable)
    found.absent = [
        (metric, reason, count) for (metric, reason), count in absent.items() if unavailable.get(metric) != reason
    ]
    found.notes = notes.most_common()
    return found
