"""Per-frame results on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.storage.cache import Folder
from retalkit.storage.frame_store import FrameStore


def test_stored_arrays_are_bit_identical(tmp_path: Path) -> None:
    store = FrameStore(Folder(tmp_path), "faces")
    assert store.get(3) is None
    face = np.random.default_rng(0).random((4, 5, 3)).astype(np.float32)
    box = np.array([1, 2, 3, 4], np.int32)
    store.put(3, face=face, box=box)
    found = FrameStore(Folder(tmp_path), "faces").get(3)
    assert found is not None
    np.testing.assert_array_equal(found["face"], face)
    assert found["box"].dtype == np.int32 and found["face"].dtype == np.float32
    assert FrameStore(Folder(tmp_path), "others").get(3) is None


def test_interrupted_write_leaves_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FrameStore(Folder(tmp_path), "faces")

    def interrupted(file: object, **arrays: object) -> None:
        file.write(b"partial")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.put(0, face=np.zeros(3))
    assert store.get(0) is None
    assert list(tmp_path.iterdir()) == []
