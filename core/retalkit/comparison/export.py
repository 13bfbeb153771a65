"""Export of a comparison to one JSON file with all results and to four CSV tables."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from retalkit.comparison.results import CellResult, Results
from retalkit.comparison.stats.model import Analysis, Contrast, Summary
from retalkit.comparison.votes import WinRate
from retalkit.errors import OutputError
from retalkit.storage.cache import Folder

RESULTS_FILE: Final = "results.json"
FORMAT: Final = 1
"""Version of the file format. Increase the version for incompatible changes."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""Initial characters that cause a spreadsheet to evaluate a string as a formula."""


def to_plain_data(value: Any) -> Any:
    """Convert a value to JSON-compatible data: dataclasses to dictionaries, paths to strings, non-finite numbers to
    None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain_data(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.generic | np.ndarray):
        return to_plain_data(cast("Any", value).tolist())
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_plain_data(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, set | frozenset):
        return sorted((to_plain_data(item) for item in cast("frozenset[Any]", value)), key=str)
    if isinstance(value, list | tuple):
        return [to_plain_data(item) for item in cast("Sequence[Any]", value)]
    return str(value)


def write_json(results: Results, analysis: Analysis, folder: Path, rates: Sequence[WinRate] = ()) -> Path:
    """Write ``results.json`` with the results, their analysis and the votes' win rates, and return the file's path.

    Raises:
        OutputError: the file cannot be written.
    """
    data = {
        "format": FORMAT,
        "results": to_plain_data(results),
        "analysis": to_plain_data(analysis),
        "win_rates": [{**to_plain_data(rate), "votes": rate.votes} for rate in rates],
    }
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    return _write(folder, RESULTS_FILE, text + "\n")


def write_csv(results: Results, analysis: Analysis, folder: Path, rates: Sequence[WinRate] = ()) -> list[Path]:
    """Write ``cells.csv``, ``summary.csv``, ``contrasts.csv`` and ``votes.csv``, and return their paths.

    The tables are comma-separated, encoded in UTF-8, and have a header row. Missing numbers are empty fields, and other
    numbers have full precision. Strings that a spreadsheet would evaluate as a formula are prefixed with an apostrophe.

    Raises:
        OutputError: a file cannot be written.
    """
    return [
        _table(folder, "cells.csv", *_cells(results)),
        _table(folder, "summary.csv", _SUMMARY, (_row(_SUMMARY, one) for one in analysis.summaries)),
        _table(folder, "contrasts.csv", _CONTRAST, (_row(_CONTRAST, one) for one in analysis.contrasts)),
        _table(folder, "votes.csv", _RATE, (_row(_RATE, one) for one in rates)),
    ]


_SUMMARY: Final = tuple(field.name for field in fields(Summary) if field.name != "values")
_CONTRAST: Final = tuple(field.name for field in fields(Contrast) if field.name != "differences")
_RATE: Final = (*(field.name for field in fields(WinRate)), "votes")
_NAME: Final = ("clip", "arm", "speech", "variant", "seed", "rerun")


def _cells(results: Results) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
    measures = [measure.name for measure in results.measures()]

    def row(cell: CellResult) -> list[object]:
        return [
            *_row(_NAME, cell.name),
            cell.state,
            cell.failure,
            *(cell.scores.get(measure) for measure in measures),
            _join_reasons(cell.failed_metrics),
            _join_reasons(cell.absent),
            "; ".join(cell.notes),
            cell.video,
            cell.key,
        ]

    header = (*_NAME, "state", "failure", *measures, "failed_metrics", "absent_metrics", "notes", "video", "key")
    return header, (row(cell) for cell in results.cells)


def _join_reasons(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _row(columns: Sequence[str], value: object) -> list[object]:
    return [getattr(value, column) for column in columns]


def _table(folder: Path, name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    lines = _Lines()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow([_field(column) for column in header])
    writer.writerows([_field(value) for value in row] for row in rows)
    return _write(folder, name, "".join(lines))


class _Lines(list[str]):
    """Minimal file-like object that collects the output of ``csv.writer``."""

    def write(self, text: str) -> None:
        self.append(text)


def _field(value: object) -> object:
    if isinstance(value, float):
        # repr preserves the full precision. float() removes the type name of NumPy scalars.
        return repr(float(value)) if math.isfinite(value) else ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value


def _write(folder: Path, name: str, text: str) -> Path:
    try:
        with Folder(folder).write(name) as path:
            # File names may contain bytes that are not valid UTF-8. JSON readers can decode the escape sequences.
            path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        message = (
            f"{folder / name}: cannot write the file: {error.strerror or error}: choose a different directory with "
            "--output"
        )
        raise OutputError(message, code="unwritable-output") from error
    return folder / name
