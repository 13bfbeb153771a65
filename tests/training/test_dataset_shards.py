"""Shards: random access, streaming, and packing again."""

from __future__ import annotations

import io
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("webdataset", reason="datasets need the extra: pip install 'retalkit[train]'")

from retalkit.errors import InputError
from retalkit.speech.mel import mel_spectrogram
from retalkit_training.datasets.clip_format import PreparedClip, read_tar, to_tar
from retalkit_training.datasets.settings import SplitSettings
from retalkit_training.datasets.shards import SHARDS, LabelledClip, ShardReader, pack, remove_unreferenced, stream
from retalkit_training.datasets.writer import write_dataset

from tests.training.drawn_clips import drawn_clip, labelled, renamed, talking


@pytest.fixture(scope="module")
def clip(shared_parity_training: Path) -> PreparedClip:
    return drawn_clip(shared_parity_training, 1)


@pytest.fixture
def dataset(clip: PreparedClip, tmp_path: Path) -> Path:
    """Dataset with seven clips in several shards."""
    clips = [labelled(renamed(clip, f"clip-{n}"), f"speaker{n}") for n in range(7)]
    write_dataset(tmp_path, clips, SplitSettings(shard_megabytes=len(to_tar(clip)) * 2.5 / 1e6))
    return tmp_path


def test_clip_is_unchanged_after_writing_and_reading(clip: PreparedClip, shared_parity_training: Path) -> None:
    blocks = to_tar(clip)
    read = read_tar(io.BytesIO(blocks), clip.key, len(blocks))
    assert to_tar(read) == blocks
    assert read.meta == clip.meta
    assert read.frame_count == 100
    drawn = talking(shared_parity_training, 1)
    np.testing.assert_allclose(read.waveform(), drawn["wave"], atol=1 / 32768)
    np.testing.assert_array_equal(read.mel, mel_spectrogram(read.waveform()))
    difference = np.abs(read.images(96, 10, 12).astype(int) - drawn["frames"][10:12])
    assert difference.mean() < 4
    assert read.images(384, 5, 6).shape == (1, 384, 384, 3)


def test_random_access_and_stream_return_equal_clips(dataset: Path) -> None:
    reader = pickle.loads(pickle.dumps(ShardReader(dataset)))  # noqa: S301
    train = reader.index.of_split("train")
    assert len(train) == 5
    assert len({entry.shard for entry in train}) == 3
    streamed = list(stream(dataset, "train"))
    assert [entry for entry, _ in streamed] == train
    for entry, streamed_clip in streamed:
        assert to_tar(streamed_clip) == to_tar(reader.read(entry))
    assert set(reader.read(train[0], sides=(96,)).faces) == {96}
    assert reader.read(train[0], sides=()).frame_count == 100
    assert [set(each.faces) for _, each in stream(dataset, "train", sides=(96, 384))] == [{96, 384}] * 5
    shuffled = [entry.key for entry, _ in stream(dataset, "train", shuffle_seed=3)]
    assert sorted(shuffled) == sorted(entry.key for entry in train)
    assert not list(stream(dataset, "other"))


def test_shards_are_tar_files(dataset: Path) -> None:
    names: list[str] = []
    for path in (dataset / SHARDS).iterdir():
        with tarfile.open(path) as archive:
            names += archive.getnames()
    assert len(names) == 7 * 7
    assert {name.partition(".")[2] for name in names} == {
        *("json", "face96.npz", "face256.npz", "face384.npz", "audio.wav", "mel.npy", "arrays.npz"),
    }


def test_packing_again_writes_only_changed_shards(dataset: Path) -> None:
    index = ShardReader(dataset).index
    clips = [LabelledClip(e.key, e.split, e.speaker, e.video, e.source, e.frames) for e in index.clips]
    settings = SplitSettings(**index.settings["splits"])
    former = {entry.key: entry for entry in index.clips}
    before = {path.name: path.stat().st_mtime_ns for path in (dataset / SHARDS).iterdir()}
    assert pack(dataset, clips, settings, former) == (index.clips, index.shards)
    assert {path.name: path.stat().st_mtime_ns for path in (dataset / SHARDS).iterdir()} == before

    moved = [replace(each, split="train") for each in clips]
    entries, shards = pack(dataset, moved, settings, former)
    merged = replace(index, clips=entries, shards=shards)
    merged.write(dataset)
    remove_unreferenced(dataset, merged)
    assert {path.name for path in (dataset / SHARDS).iterdir()} == {shard.name for shard in shards}
    assert len(list(stream(dataset, "train"))) == 7


def test_missing_shard_is_an_error(dataset: Path) -> None:
    reader = ShardReader(dataset)
    entry = reader.index.of_split("train")[0]
    (dataset / SHARDS / entry.shard).unlink()
    for read in (lambda: reader.read(entry), lambda: list(stream(dataset, "train"))):
        with pytest.raises(InputError) as error:
            read()
        assert error.value.code == "missing-shard"
        assert entry.shard in str(error.value)


def test_incomplete_clip_is_an_error(clip: PreparedClip) -> None:
    whole = to_tar(clip)
    for blocks in (whole[:5000], b"x" * 2048, b"", whole[: len(whole) // 2]):
        with pytest.raises(InputError) as error:
            read_tar(io.BytesIO(blocks), clip.key, len(whole))
        assert error.value.code == "corrupt-clip"
