"""The stored speech can be read anywhere; outside it is silent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from retalkit.pipeline.speech import StoredSamples
from retalkit.storage.row_file import RowReader, RowWriter


def test_any_stretch_can_be_read(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    with RowWriter(tmp_path / "speech", np.float32) as writer:
        writer.append(samples[:300])
        writer.append(samples[300:])
    stored = StoredSamples(RowReader(tmp_path / "speech", np.float32, ()))
    assert stored.sample_count == 1000
    np.testing.assert_array_equal(stored.read(250, 400), samples[250:400])
    np.testing.assert_array_equal(stored.read(-5, 10), np.r_[np.zeros(5), samples[:10]].astype(np.float32))
    np.testing.assert_array_equal(stored.read(990, 1010), np.r_[samples[990:], np.zeros(10)].astype(np.float32))
    assert not stored.read(2000, 2100).any()
    assert stored.read(20, 10).shape == (0,)
