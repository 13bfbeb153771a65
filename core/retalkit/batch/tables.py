"""Tables of a batch: ``summary.csv`` and ``results.json`` in the results directory."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from retalkit._version import __version__
from retalkit.batch.gate_limits import GATES, GateLimits
from retalkit.batch.gate_results import frames_text, review_text
from retalkit.batch.outcome import BatchOutcome, JobOutcome
from retalkit.batch.result_file import result_file

CSV_FILE: Final = "summary.csv"
JSON_FILE: Final = "results.json"
_COLUMNS: Final = ("output", "state", "language", "video", "speech", "cues", "settings", "code", "reason")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""First characters of text that spreadsheets evaluate as a formula."""
_NUMBERS: Final = ("output_seconds", "frames_edited", "seconds", "cpu_seconds", "attempts")
_PARTS: Final = ("verdict", "value", "frames")


def write_tables(outcome: BatchOutcome, gates: GateLimits) -> None:
    """Write both tables atomically."""
    with result_file(outcome.folder / CSV_FILE) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            [*_COLUMNS, "review", "notes", *_NUMBERS, *(f"{gate}_{part}" for gate in GATES for part in _PARTS)]
        )
        writer.writerows(_row(each) for each in outcome.jobs)
    data = {
        "version": 1,
        "retalkit": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "counts": dict(outcome.counts),
        "workers": outcome.workers,
        "wall_seconds": round(outcome.wall_seconds, 3),
        "work_seconds": round(outcome.work_seconds, 3),
        "gates": gates.plain(),
        "jobs": [each.plain() for each in outcome.jobs],
    }
    with result_file(outcome.folder / JSON_FILE) as path:
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _row(each: JobOutcome) -> list[Any]:
    plain = each.plain()
    gates: dict[str, Mapping[str, Any]] = {str(gate["gate"]): gate for gate in each.gates}
    values = [plain.get(name) for name in _COLUMNS]
    values += [review_text(each.gates), "; ".join(each.notes), *(plain.get(name) for name in _NUMBERS)]
    for gate in GATES:
        found = gates.get(gate, {})
        values += [found.get("verdict"), found.get("value"), frames_text(found.get("frames", ()))]
    return [_cell(value) for value in values]


def _cell(value: Any) -> Any:
    """Return a cell that spreadsheets do not evaluate. A quote precedes text that starts like a formula."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
