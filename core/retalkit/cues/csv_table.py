"""Rows of CSV files with a header line, for cue sheets and job lists."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from retalkit.cues.faults import Faults
from retalkit.errors import BatchError, CueError


def table_rows(
    path: Path,
    lines: list[str],
    columns_of: Callable[[list[str], str], list[str]],
    faults: Faults,
    error: type[BatchError | CueError],
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield the position in the file (``FILE:LINE``), the columns and the cells of each row below the header.

    Columns are separated by commas, semicolons or tabs. Empty lines are skipped. Rows with more cells than columns are
    left out and added to ``faults``. ``columns_of``: function from the cells and the position of the header to the
    names of the columns. ``error``: class of the errors that are raised if the file is not valid CSV.
    """
    header = next((line for line in lines if line.strip()), "")
    separator = max(",;\t", key=header.count)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    columns: list[str] | None = None
    try:
        for cells in reader:
            origin = f"{path}:{reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = columns_of(cells, origin)
            elif len(cells) > len(columns):
                text = f"{origin}: expected {len(columns)} columns ({separator.join(columns)}), got {len(cells)}"
                faults.add(error(text, code="invalid-file"))
            else:
                yield origin, columns, cells
    except csv.Error as invalid:
        raise error(f"{path}:{reader.line_num}: invalid CSV: {invalid}", code="invalid-file") from invalid
