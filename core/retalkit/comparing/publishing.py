"""Everything that is written out of the results: tables, JSON, report and voting page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retalkit.comparing.report import write_report
from retalkit.comparing.report.previews import Box
from retalkit.comparing.results import Results
from retalkit.comparing.statistics import analyse
from retalkit.comparing.tables import write_csv, write_json
from retalkit.comparing.votes import read_votes, win_rates
from retalkit.errors import InputError
from retalkit.observing import Observer

VOTES = "votes"
"""Folder below the comparison's where what the voting page saves is put."""


def publish(
    results: Results, folder: Path, faces: Mapping[str, Box] | None = None, observer: Observer | None = None
) -> Path:
    """Writes CSV, JSON, ``report.html`` and ``blind.html`` into the comparison's folder; gives the report's path.

    ``faces``: clip -> left, top, right, bottom in pixels of what its face covers; pictures look there.
    Raises InputError for a file of votes that cannot be used, after a report without votes was written.
    """
    analysis = analyse(results)
    write_csv(results, analysis, folder)
    write_json(results, analysis, folder)
    try:
        votes = read_votes(folder / VOTES, results)
    except InputError:
        # What was computed must not wait for a mended file of votes.
        write_report(results, analysis, folder, faces=faces, observer=observer)
        raise
    return write_report(results, analysis, folder, win_rates(votes), faces=faces, observer=observer)
