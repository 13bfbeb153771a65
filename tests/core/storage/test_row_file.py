"""Row files: appending and reading slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.storage.row_file import RowReader, RowWriter


def test_slices_equal_appended_rows(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(11, 4, 3)).astype(np.float32)
    rows[3] = np.nan
    with RowWriter(tmp_path / "rows", np.float32) as writer:
        writer.append(rows[:4])
        writer.append(rows[4:4])
        writer.append(rows[4:])
    reader = RowReader(tmp_path / "rows", np.float32, (4, 3))
    assert reader.count == 11
    np.testing.assert_array_equal(reader.read(2, 7), rows[2:7])
    assert reader.read(5, 5).shape == (0, 4, 3)
    with pytest.raises(IndexError):
        reader.read(5, 12)
