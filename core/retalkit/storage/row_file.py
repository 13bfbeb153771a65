"""Rows of numbers in a raw file: appended while streaming, read back a slice at a time."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class RowWriter:
    """Appends rows to a raw little-endian file."""

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self._file = path.open("wb")
        self._dtype = np.dtype(dtype).newbyteorder("<")

    def append(self, rows: NDArray[Any]) -> None:
        """Rows [T, ...]; every call must bring the same row shape."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class RowReader:
    """Reads slices of rows; never maps the file, so that what was read can be freed."""

    def __init__(self, path: Path, dtype: DTypeLike, row_shape: tuple[int, ...]) -> None:
        self._path = path
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._shape = row_shape
        self._items = int(np.prod(row_shape, dtype=np.int64))
        self.count = path.stat().st_size // max(1, self._items * self._dtype.itemsize)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) as [T, *row_shape]; raises IndexError outside the file."""
        if not 0 <= start <= stop <= self.count:
            raise IndexError(f"rows {start} to {stop} of {self.count} in {self._path.name}")
        size = self._items * self._dtype.itemsize
        rows = np.fromfile(self._path, self._dtype, (stop - start) * self._items, offset=start * size)
        return rows.reshape(stop - start, *self._shape)
