"""A comparison as files: everything in one JSON, and three tables for a spreadsheet."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from pydantic import TypeAdapter, ValidationError

from retalkit.comparison.results import CellResult, Results
from retalkit.comparison.stats.model import Analysis, Contrast, Summary
from retalkit.comparison.votes import WinRate
from retalkit.errors import InputError, OutputError
from retalkit.storage.cache import Folder

RESULTS_FILE: Final = "results.json"
FORMAT: Final = 1
"""Number of the file's form; raised where an older one can no longer be read."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet runs a text that begins with one of them."""


def plain(value: Any) -> Any:
    """Data that JSON knows: dataclasses become dictionaries, a number that is not finite None, a path its text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.generic | np.ndarray):
        return plain(cast("Any", value).tolist())
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in cast("frozenset[Any]", value)), key=str)
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast("Sequence[Any]", value)]
    return str(value)


def write_json(results: Results, analysis: Analysis, folder: Path, rates: Sequence[WinRate] = ()) -> Path:
    """Writes ``results.json`` with all results, their analysis and the win rates of the votes; gives its path.

    Raises:
        OutputError: the folder cannot be written.
    """
    data = {
        "format": FORMAT,
        "results": plain(results),
        "analysis": plain(analysis),
        "win_rates": [{**plain(rate), "votes": rate.votes} for rate in rates],
    }
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    return _write(folder, RESULTS_FILE, text + "\n")


def read_results(path: Path) -> Results:
    """The results in a ``results.json``, or in the folder that holds one. The analysis is not read: make it again.

    Raises:
        InputError: there is none, or it is something else.
    """
    path = path / RESULTS_FILE if path.is_dir() else path
    advice = "run the comparison again, what is finished is not computed twice"
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"results {path}: cannot be read ({error.strerror or error}); {advice}") from error
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"results {path}: not a JSON file ({reason}); {advice}") from error
    if not isinstance(data, dict) or "results" not in data:
        raise InputError(f"results {path}: not the results of a comparison; name a {RESULTS_FILE}")
    content = cast("dict[str, Any]", data)
    if content.get("format") != FORMAT:
        raise InputError(f"results {path}: written by another version of retalkit; {advice}")
    try:
        return TypeAdapter(Results).validate_python(_without_nulls(content["results"]))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"results {path}: {place}: {first['msg']}; {advice}") from error


def _without_nulls(results: Any) -> Any:
    """Takes the bounds of open ranges out, so that they become infinite again: JSON has no number for that."""
    try:
        measures = [measure for metric in results["metrics"] for measure in metric["measures"]]
        for measure in measures:
            for bound in ("low", "high"):
                if measure[bound] is None:
                    del measure[bound]
    except (KeyError, TypeError):
        # What is wrong with the file is said where it is checked.
        return results
    return results


def write_csv(results: Results, analysis: Analysis, folder: Path, rates: Sequence[WinRate] = ()) -> list[Path]:
    """Writes ``cells.csv``, ``summary.csv``, ``contrasts.csv`` and ``votes.csv`` (UTF-8, comma, a header); gives their
    paths.

    An empty field is a number that there is none of. Numbers have all their digits. A text that a spreadsheet would
    take for a formula gets an apostrophe in front.

    Raises:
        OutputError: the folder cannot be written.
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
            _joined(cell.failed_metrics),
            _joined(cell.absent),
            "; ".join(cell.notes),
            cell.video,
            cell.key,
        ]

    header = (*_NAME, "state", "failure", *measures, "failed_metrics", "absent_metrics", "notes", "video", "key")
    return header, (row(cell) for cell in results.cells)


def _joined(reasons: Mapping[str, str]) -> str:
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
    """What ``csv`` takes for a file."""

    def write(self, text: str) -> None:
        self.append(text)


def _field(value: object) -> object:
    if isinstance(value, float):
        # repr keeps all digits; a float64 scalar of numpy would bring its type's name.
        return repr(float(value)) if math.isfinite(value) else ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value


def _write(folder: Path, name: str, text: str) -> Path:
    try:
        with Folder(folder).write(name) as path:
            # A file's name may hold bytes that are no text; JSON reads what stands for them back.
            path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise OutputError(f"{folder / name} cannot be written ({error.strerror or error})") from error
    return folder / name
