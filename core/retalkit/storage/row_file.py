"""Raw binary array files that support appending rows and reading slices of rows."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class RowWriter:
    """Writer that appends rows of an array to a little-endian binary file."""

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self._file = path.open("wb")
        self._dtype = np.dtype(dtype).newbyteorder("<")

    def append(self, rows: NDArray[Any]) -> None:
        """Append rows [T, ...]. All calls must use the same row shape."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class RowReader:
    """Reader for slices of rows. The file is not memory-mapped, so that the memory of a slice can be released."""

    def __init__(self, path: Path, dtype: DTypeLike, row_shape: tuple[int, ...]) -> None:
        self._path = path
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._shape = row_shape
        self._items = int(np.prod(row_shape, dtype=np.int64))
        self.count = path.stat().st_size // max(1, self._items * self._dtype.itemsize)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows [start, stop) as [T, *row_shape].

        Raises:
            IndexError: the slice extends beyond the file.
        """
        if not 0 <= start <= stop <= self.count:
            raise IndexError(f"rows {start} to {stop} requested, but {self._path.name} has {self.count} rows")
        size = self._items * self._dtype.itemsize
        rows = np.fromfile(self._path, self._dtype, (stop - start) * self._items, offset=start * size)
        return rows.reshape(stop - start, *self._shape)
