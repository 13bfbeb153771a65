"""Output files of a comparison: tables, JSON, report and voting page."""

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
"""Name of the comparison's subdirectory for vote files saved from the voting page."""


def publish(
    results: Results, folder: Path, faces: Mapping[str, Box] | None = None, observer: Observer | None = None
) -> Path:
    """Write CSV, JSON, ``report.html`` and ``blind.html`` into the comparison's directory and return the report's path.

    ``faces`` maps each clip to the left, top, right and bottom of the face area in pixels. Previews and contact sheets
    are cropped to the face area. Skipped votes are reported to the observer and listed in the report. Raises
    OutputError.
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
