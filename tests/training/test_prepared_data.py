"""Datasets of ``retalkit dataset prepare`` as training data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("retalkit_training.datasets.shards", reason="requires the dataset commands")
pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit.speech.mel import mel_spectrogram
from retalkit_training.datasets.clip_format import EncodedImages, PreparedClip
from retalkit_training.datasets.index import DatasetIndex
from retalkit_training.datasets.settings import SplitSettings
from retalkit_training.datasets.shards import LabelledClip, pack, write_loose
from retalkit_training.loop.data import check_data
from retalkit_training.tasks.prepared_data import PreparedData


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Prepared dataset with a clip of random frames for each of two speakers."""
    random = np.random.default_rng(0)
    clips: list[LabelledClip] = []
    for key, split in (("a", "train"), ("b", "val")):
        wave = random.integers(-9000, 9000, 20 * 640).astype(np.int16)
        faces = {
            side: EncodedImages.encode(np.full((20, side, side, 3), (200, 100, 50), np.uint8), 95)
            for side in (96, 256, 384)
        }
        rows = np.arange(20 * 262, dtype=np.float32).reshape(20, 262)
        mel = mel_spectrogram((wave / np.float32(32768)).astype(np.float32))
        write_loose(tmp_path, PreparedClip(key=key, faces=faces, wave=wave, mel=mel, arrays={"coefficients": rows}))
        clips.append(LabelledClip(key, split, f"speaker {key}", key, key, 20))
    entries, shards = pack(tmp_path, clips, SplitSettings(), {})
    DatasetIndex(videos=(), clips=entries, shards=shards, coefficients="bfm257").write(tmp_path)
    return tmp_path


def test_clips_satisfy_the_trainers(folder: Path) -> None:
    data = PreparedData(folder)
    check_data(data, 384, coefficients=True)
    (clip,) = data.clips("train")
    assert (clip.speaker, clip.frame_count, clip.step_count) == ("speaker a", 20, 65)
    faces = clip.faces(96, [3, 3, 0])
    assert faces.shape == (3, 96, 96, 3)
    assert np.abs(faces[0, 0, 0].astype(int) - (50, 100, 200)).max() <= 3
    assert clip.mel(60, 16).shape == (80, 16)
    assert (clip.mel(65, 4) == -4).all()
    rows = clip.coefficients([2])
    assert rows is not None
    assert rows.shape == (1, 73)
    assert rows[0, 0] == 2 * 262 + 80
    assert rows[0, -1] == 2 * 262 + 261


def test_key_depends_on_the_clips(folder: Path) -> None:
    assert PreparedData(folder).key == PreparedData(folder).key
    index = (folder / "dataset.json").read_text(encoding="utf-8")
    before = PreparedData(folder).key
    (folder / "dataset.json").write_text(index.replace('"speaker a"', '"speaker c"'), encoding="utf-8")
    assert PreparedData(folder).key != before
