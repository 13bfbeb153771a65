"""Reader for cue sheets in CSV with a header line."""

from __future__ import annotations

from pathlib import Path

from retalkit.cues.csv_table import table_rows
from retalkit.cues.faults import Faults
from retalkit.cues.rows import Row, Sheet
from retalkit.cues.text_file import read_text
from retalkit.cues.yaml_sheet import CUE_KEYS
from retalkit.errors import CueError
from retalkit.plugins.registry import nearest


def read_csv(path: Path, faults: Faults) -> Sheet:
    """Return the rows of a CSV sheet. Raises CueError if the header is invalid or no cue follows."""
    rows: list[Row] = []
    for origin, columns, cells in table_rows(path, read_text(path).splitlines(), _columns, faults, CueError):
        values = {name: cell.strip() or None for name, cell in zip(columns, cells, strict=False)}
        start, stop = values.get("from"), values.get("to")
        rest = {key: values.get(key) for key in ("person", "speech", "offset", "gain")}
        rows.append(Row(origin=origin, start=start, stop=stop, **rest))
    if not (rows or faults.errors):
        raise CueError(f"{path}: the file contains no cue; expected the header {','.join(CUE_KEYS)}", code="empty-file")
    return Sheet(path=path, rows=rows, persons={})


def _columns(cells: list[str], origin: str) -> list[str]:
    columns = [cell.strip().lower() for cell in cells]
    unknown = [name for name in columns if name not in CUE_KEYS]
    if unknown:
        hint = nearest(unknown[0], CUE_KEYS) or f"; valid columns: {', '.join(CUE_KEYS)}"
        raise CueError(f"{origin}: unknown column '{unknown[0]}'{hint}", code="unknown-option")
    repeated = [name for name in columns if columns.count(name) > 1]
    if repeated:
        raise CueError(f"{origin}: duplicate column '{repeated[0]}'; remove one of the columns", code="duplicate-key")
    return columns
