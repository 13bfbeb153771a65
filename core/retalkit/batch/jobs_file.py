"""Reader for job lists in YAML and CSV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from retalkit.batch.gate_limits import GATES, GateLimits, read_limits
from retalkit.batch.jobs import ROW_KEYS, Row
from retalkit.config import yaml_io
from retalkit.cues.csv_table import table_rows
from retalkit.cues.faults import Faults
from retalkit.cues.text_file import read_text
from retalkit.errors import BatchError, ConfigError, RetalkitError
from retalkit.plugins.registry import nearest

KEYS: Final = ("jobs", "defaults", "gates")
_SET: Final = "set."
"""Prefix of the CSV columns that override one value of the configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobList:
    """Content of a job list."""

    path: Path
    rows: list[Row]
    gates: GateLimits = field(default_factory=GateLimits)


def read_jobs(path: Path, faults: Faults) -> JobList:
    """Read a job list (.yaml or .csv). Faulty rows are left out and added to ``faults``.

    Raises BatchError or ConfigError if the file cannot be read or contains no job.
    """
    readers: dict[str, Callable[[Path, Faults], JobList]] = {".yaml": _read_yaml, ".yml": _read_yaml, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(readers)
        raise BatchError(f"{path}: unknown suffix '{path.suffix}'; expected one of {known}", code="wrong-suffix")
    return reader(path, faults)


def _read_yaml(path: Path, faults: Faults) -> JobList:
    try:
        data, lines = yaml_io.read_file(path)
    except ConfigError as error:
        if error.code != "not-a-mapping":
            raise
        text = f"{path}: expected the key `jobs` with a list of jobs; write `jobs:` above the list"
        raise BatchError(text, code="not-a-mapping") from error

    def origin(*key_path: str | int) -> str:
        known = (lines[key_path[:length]] for length in range(len(key_path), -1, -1) if key_path[:length] in lines)
        return f"{path}:{next(known, 1)}"

    def check_keys(given: dict[str, Any], known: tuple[str, ...], *key_path: str | int) -> bool:
        unknown = [key for key in given if key not in known]
        for key in unknown:
            hint = nearest(key, known) or f"; valid keys: {', '.join(known)}"
            faults.add(BatchError(f"{origin(*key_path, key)}: unknown key '{key}'{hint}", code="unknown-option"))
        return not unknown

    check_keys(data, KEYS)
    defaults, gates = (_mapping(data, key, origin, faults) for key in ("defaults", "gates"))
    check_keys(defaults, ROW_KEYS, "defaults")
    limits = GateLimits()
    try:
        limits = read_limits(gates, {name: origin("gates", name) for name in gates})
    except BatchError as error:
        faults.add(error)
    entries = data.get("jobs")
    if not isinstance(entries, list) or not entries:
        example = "`jobs: [{video: a.mp4, speech: b.wav, output: c.mp4}]`"
        raise BatchError(f"{origin('jobs')}: expected a list of jobs such as {example}", code="empty-list")
    rows: list[Row] = []
    for number, entry in enumerate(cast("list[Any]", entries)):
        where = origin("jobs", number)
        if not isinstance(entry, dict):
            text = f"{where}: expected a job such as {{video: a.mp4, speech: b.wav, output: c.mp4}}, got {entry!r}"
            faults.add(BatchError(text, code="not-a-mapping"))
            continue
        values = cast("dict[str, Any]", entry)
        if check_keys(values, ROW_KEYS, "jobs", number):
            merged = {**defaults, **values}
            both = [values.get("set"), defaults.get("set")]
            if all(isinstance(each, dict) for each in both):
                merged["set"] = {**cast("dict[str, Any]", both[1]), **cast("dict[str, Any]", both[0])}
            rows.append(Row(origin=where, values=merged))
    return JobList(path=path, rows=rows, gates=limits)


def _mapping(data: dict[str, Any], key: str, origin: Callable[..., str], faults: Faults) -> dict[str, Any]:
    value = data.get(key)
    if value is None:
        return {}
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    faults.add(BatchError(f"{origin(key)}: {key}: expected a mapping, got {value!r}", code="not-a-mapping"))
    return {}


def _read_csv(path: Path, faults: Faults) -> JobList:
    try:
        lines = read_text(path).splitlines()
    except RetalkitError as error:
        raise BatchError(str(error), code=error.code) from error
    rows: list[Row] = []
    for origin, columns, cells in table_rows(path, lines, _columns, faults, BatchError):
        try:
            rows.append(Row(origin=origin, values=_csv_values(columns, cells, origin)))
        except ConfigError as error:
            faults.add(error)
    if not (rows or faults.errors):
        text = f"{path}: the file contains no job; expected the header video,speech,output and one line per job"
        raise BatchError(text, code="empty-file")
    return JobList(path=path, rows=rows)


def _columns(cells: list[str], origin: str) -> list[str]:
    columns = [cell.strip() for cell in cells]
    known = tuple(key for key in ROW_KEYS if key != "set")
    unknown = [name for name in columns if name not in known and not name.startswith(_SET)]
    if unknown:
        hint = nearest(unknown[0], known) or f"; valid columns: {', '.join(known)} and set.KEY, such as set.output.crf"
        raise BatchError(f"{origin}: unknown column '{unknown[0]}'{hint}", code="unknown-option")
    repeated = [name for name in columns if columns.count(name) > 1]
    if repeated:
        raise BatchError(f"{origin}: duplicate column '{repeated[0]}'; remove one of the columns", code="duplicate-key")
    return columns


def _csv_values(columns: list[str], cells: list[str], origin: str) -> dict[str, Any]:
    given = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if cell.strip()}
    changes = {
        name.removeprefix(_SET): yaml_io.read_value(text, origin)
        for name, text in given.items()
        if name.startswith(_SET)
    }
    values: dict[str, Any] = {name: text for name, text in given.items() if not name.startswith(_SET)}
    return values | ({"set": changes} if changes else {})


def merge_gates(limits: GateLimits, options: list[str]) -> GateLimits:
    """Return the limits changed by command-line options such as ``silence=0.1`` or ``drift=off``. Raises BatchError."""
    given: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not value.strip():
            text = f"--gate {option}: expected NAME=LIMIT, such as silence=0.1; available: {', '.join(GATES)}"
            raise BatchError(text, code="invalid-option")
        given[name.strip()] = value.strip()
    known = {name: "off" if value is None else value for name, value in limits.plain().items()}
    return read_limits({**known, **given}, {name: f"--gate {name}={value}" for name, value in given.items()})
