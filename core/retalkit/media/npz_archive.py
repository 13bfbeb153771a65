"""Reader for .npz files from users. All problems are reported as ValueError with a one-line reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast
from zipfile import ZipFile, is_zipfile

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

_NUMBERS = "fiub"
_STRINGS = "U"


class NpzArchive:
    """Opened .npz file. Arrays are loaded on access."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises ValueError if the file cannot be read or is not an .npz file."""
        try:
            if path.stat().st_size == 0:
                raise ValueError("the file is empty")
            if not is_zipfile(path):
                raise ValueError("cannot read the file as .npz; write the file with numpy.savez")
            with ZipFile(path) as members:
                self._sizes = {member.filename: member.file_size for member in members.infolist()}
            self._members = ZipFile(path)
        except OSError as error:
            raise ValueError(f"cannot read the file: {error.strerror or error}") from error
        except ValueError:
            raise
        except Exception as error:  # zipfile raises various exceptions for damaged archives.
            raise ValueError(f"cannot read the file as .npz: {_line(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._members.close()

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self._sizes

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a numeric or boolean array. Raises ValueError if the array is damaged or has another type.

        Raises KeyError if there is no such array.
        """
        return self._array(name, _NUMBERS, "numbers")

    def strings(self, name: str) -> tuple[str, ...]:
        """Return an array of strings [N]. Raises exceptions as described for ``numbers``."""
        values = self._array(name, _STRINGS, "strings")
        if values.ndim != 1:
            raise ValueError(f"array '{name}': expected one dimension, got {values.ndim}")
        return tuple(str(value) for value in values)

    def _array(self, name: str, kinds: str, expected: str) -> NDArray[Any]:
        member = f"{name}.npy"
        if name not in self:
            raise KeyError(name)
        try:
            with self._members.open(member) as file:
                self._check_header(file, member, kinds, expected)
            with self._members.open(member) as file:
                return cast("NDArray[Any]", npy_format.read_array(file, allow_pickle=False))
        except Exception as error:  # numpy and zipfile raise various exceptions for damaged arrays.
            raise ValueError(f"array '{name}': {_line(error)}") from error

    def _check_header(self, file: Any, member: str, kinds: str, expected: str) -> None:
        """Check the type and the size before the array is allocated, because a damaged header may claim any size."""
        version = npy_format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"unsupported format version {version}")
        shape, _, dtype = _HEADERS[version](file)
        if dtype.kind not in kinds:
            raise ValueError(f"expected {expected}, got the type {dtype}")
        size = int(np.prod([int(length) for length in shape], dtype=object)) * dtype.itemsize
        stored = self._sizes[member] - file.tell()
        if size != stored:
            raise ValueError(f"the header requires {size} bytes, but the file contains {stored}")


_HEADERS: Mapping[tuple[int, int], Any] = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."
