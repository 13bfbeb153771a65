"""Output files of a comparison: tables, JSON file, report and voting page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retalkit.comparison.export import write_csv, write_json
from retalkit.comparison.report import write_report
from retalkit.comparison.report.previews import Box
from retalkit.comparison.results import Results
from retalkit.comparison.stats.analysis import analyse
from retalkit.comparison.votes import read_votes, win_rates
from retalkit.observer import Observer, SilentObserver

VOTES = "votes"
"""Name of the comparison's subdirectory for vote files, which voters save from the voting page."""


def publish(
    results: Results, folder: Path, faces: Mapping[str, Box] | None = None, observer: Observer | None = None
) -> Path:
    """Write the CSV tables, the JSON file, ``report.html`` and ``blind.html``, and return the report's path.

    ``faces`` maps each clip to its face area (left, top, right and bottom in pixels). Previews and contact sheets are
    cropped to this area. Skipped votes are reported to the observer and listed in the report. Raises OutputError if a
    file cannot be written.
    """
    observer = observer or SilentObserver()
    ballot = read_votes(folder / VOTES, results)
    for line in ballot.skipped:
        observer.note(line)
    rates = win_rates(ballot.votes)
    analysis = analyse(results)
    write_csv(results, analysis, folder, rates)
    write_json(results, analysis, folder, rates)
    return write_report(results, analysis, folder, rates, skipped_votes=ballot.skipped, faces=faces, observer=observer)
