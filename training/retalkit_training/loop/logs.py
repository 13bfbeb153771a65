"""Logs of a run: ``scalars.csv``, image grids, and TensorBoard events."""

from __future__ import annotations

import csv
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import OutputError, PluginError

COLUMNS: Final = ("step", "name", "value")


class RunLog:
    """Writer of the logs of one run."""

    def __init__(self, folder: Path, *, resumed_at: int, tensorboard: bool) -> None:
        """Open the logs. Rows after the step ``resumed_at`` are removed, because these steps are repeated."""
        self._folder, self._images = folder, folder / "images"
        with self._writing():
            self._open(resumed_at)
        self._board: Any = _board(folder / "tensorboard", resumed_at) if tensorboard else None

    def _open(self, resumed_at: int) -> None:
        path = self._folder / "scalars.csv"
        rows = [row for row in read_scalars(path) if row[0] <= resumed_at]
        partial = path.with_suffix(".partial")
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows((step, name, repr(value)) for step, name, value in rows)
        partial.replace(path)
        self._file = path.open("a", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file)

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self._folder}: cannot be written ({error.strerror or error}); free disk space and run the same "
                "command again",
                code="unwritable-output",
            ) from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write scalars of a step."""
        with self._writing():
            for name, value in values.items():
                self._rows.writerow((step, name, repr(float(value))))
                if self._board is not None:
                    self._board.add_scalar(name, value, step)
            self._file.flush()

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """Write an image [H, W, 3], RGB."""
        from PIL import Image

        with self._writing():
            self._images.mkdir(exist_ok=True)
            Image.fromarray(image).save(self._images / f"{name}-{step:09d}.png")
        if self._board is not None:
            self._board.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        # After a failed write, closing fails again.
        with suppress(OSError):
            self._file.close()
        if self._board is not None:
            self._board.close()


def read_scalars(path: Path) -> list[tuple[int, str, float]]:
    """Return the rows (step, name, value) of ``scalars.csv``. Incomplete and damaged rows are ignored."""
    if not path.is_file():
        return []
    found: list[tuple[int, str, float]] = []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.reader(file):
            if len(row) != len(COLUMNS) or not row[0].isdigit():
                continue
            try:
                found.append((int(row[0]), row[1], float(row[2])))
            except ValueError:
                continue
    return found


def _board(folder: Path, resumed_at: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise PluginError(
            "tensorboard: true needs the Python package tensorboard (pip install 'retalkit[train]'), or set "
            "tensorboard=false",
            code="missing-package",
        ) from error
    return SummaryWriter(str(folder), purge_step=resumed_at + 1)


def grid(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Return images of equal size as one image, one list per row, with a white border of two pixels."""
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    sheet = np.full((len(rows) * (height + 2) + 2, columns * (width + 2) + 2, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            top, left = 2 + y * (height + 2), 2 + x * (width + 2)
            sheet[top : top + height, left : left + width] = image
    return sheet


def is_finite(values: Mapping[str, float]) -> bool:
    return all(math.isfinite(value) for value in values.values())
