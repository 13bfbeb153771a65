"""Everything that is written out of the results: tables, JSON, report and voting page."""

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
"""Folder below the comparison's where what the voting page saves is put."""


def publish(
    results: Results, folder: Path, faces: Mapping[str, Box] | None = None, observer: Observer | None = None
) -> Path:
    """Writes CSV, JSON, ``report.html`` and ``blind.html`` into the comparison's folder; gives the report's path.

    ``faces``: clip -> left, top, right, bottom in pixels of what its face covers; pictures look there. Votes that
    cannot be counted are told to the observer and in the report. Raises OutputError.
    """
    observer = observer or SilentObserver()
    ballot = read_votes(folder / VOTES, results)
    for line in ballot.left_out:
        observer.note(line)
    rates = win_rates(ballot.votes)
    analysis = analyse(results)
    write_csv(results, analysis, folder, rates)
    write_json(results, analysis, folder, rates)
    return write_report(results, analysis, folder, rates, left_out=ballot.left_out, faces=faces, observer=observer)
