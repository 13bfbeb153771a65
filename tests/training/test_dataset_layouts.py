"""Readers of dataset layouts, and splits."""

from __future__ import annotations

from pathlib import Path

import pytest
from retalkit.errors import InputError
from retalkit_training.datasets.layouts import SourceVideo, find_sources, read_speakers, unmatched_names
from retalkit_training.datasets.settings import SplitSettings
from retalkit_training.datasets.splits import assign_splits


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def labels(sources: list[SourceVideo], root: Path) -> list[tuple[str, str, str]]:
    return [(str(source.path.relative_to(root)), source.speaker, source.video) for source in sources]


def test_plain_videos(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.MOV", "notes.txt", "anna/one.mkv", "anna/two.webm")
    assert labels(find_sources([tmp_path, tmp_path / "a.mp4"]), tmp_path) == [
        ("a.mp4", "a", "a"),
        ("anna/one.mkv", "anna", "one"),
        ("anna/two.webm", "anna", "two"),
        ("b.MOV", "b", "b"),
    ]


def test_lrs2(tmp_path: Path) -> None:
    touch(tmp_path, "main/5535415699068794046/00001.mp4", "main/5535415699068794046/00002.mp4", "main/553/00001.mp4")
    assert labels(find_sources([tmp_path]), tmp_path) == [
        ("main/553/00001.mp4", "553", "553"),
        ("main/5535415699068794046/00001.mp4", "5535415699068794046", "5535415699068794046"),
        ("main/5535415699068794046/00002.mp4", "5535415699068794046", "5535415699068794046"),
    ]


def test_wav2lip_folders(tmp_path: Path) -> None:
    touch(tmp_path, "v1/00001/0.jpg", "v1/00001/1.jpg", "v1/00001/audio.wav", "v1/00002/0.jpg", "v2/00001/audio.wav")
    found = find_sources([tmp_path])
    assert labels(found, tmp_path) == [("v1/00001", "v1", "v1")]
    assert found[0].kind == "faces"


def test_voxceleb(tmp_path: Path) -> None:
    touch(tmp_path, "id10001/1zcIwhmdeo4/00001.mp4", "id10283#3Zsm8PRrRwE#001220#001331.mp4")
    assert labels(find_sources([tmp_path]), tmp_path) == [
        ("id10001/1zcIwhmdeo4/00001.mp4", "id10001", "id10001/1zcIwhmdeo4"),
        ("id10283#3Zsm8PRrRwE#001220#001331.mp4", "id10283", "3Zsm8PRrRwE"),
    ]


def test_hdtf_lists(tmp_path: Path) -> None:
    touch(tmp_path, "RD_Radio1_000.mp4", "WDA_Obama1.mp4")
    (tmp_path / "RD_annotion_time.txt").write_text("Radio1_000.mp4 00:10-00:25 1:00:00-1:00:20\nabsent.mp4 0:01-0:02\n")
    (tmp_path / "WDA_annotion_time.txt").write_text("WDA_Obama1.mp4 0:00-0:30\n\n")
    first, second = find_sources([tmp_path])
    assert (first.path.name, first.speaker, first.spans) == ("RD_Radio1_000.mp4", "Radio1", ((10, 25), (3600, 3620)))
    assert (second.path.name, second.speaker, second.spans) == ("WDA_Obama1.mp4", "WDA_Obama", ((0, 30),))
    assert unmatched_names([tmp_path], [first, second]) == ["absent.mp4"]


def test_hdtf_times_that_cannot_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / "RD_annotion_time.txt").write_text("a.mp4 ten-twenty\n")
    with pytest.raises(InputError, match="ten") as error:
        find_sources([tmp_path])
    assert error.value.code == "unreadable-file"


def test_speakers_of_a_table(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "speakers.csv").write_text("name,speaker\na.mp4,anna\nb,anna\n")
    found = find_sources([tmp_path], speakers=read_speakers(tmp_path / "speakers.csv"))
    assert [source.speaker for source in found] == ["anna", "anna"]
    assert unmatched_names([tmp_path], found, {"a.mp4": "anna", "b": "anna", "c.mp4": "ben"}) == ["c.mp4"]
    (tmp_path / "other.csv").write_text("file\na.mp4\n")
    with pytest.raises(InputError) as error:
        read_speakers(tmp_path / "other.csv")
    assert error.value.code == "unreadable-file"


@pytest.mark.parametrize(("name", "code"), [("missing", "file-not-found"), (".", "no-videos")])
def test_paths_without_videos(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(InputError) as error:
        find_sources([tmp_path / name])
    assert error.value.code == code


def test_splits_are_disjoint_by_speaker_and_recording() -> None:
    pairs = [(f"s{number % 40}", f"v{number // 3}") for number in range(120)]
    pairs += [(f"t{number}", f"w{number}") for number in range(40)]
    splits = assign_splits(pairs, SplitSettings())
    for column in (0, 1):
        used: dict[str, set[str]] = {}
        for pair, split in zip(pairs, splits, strict=True):
            used.setdefault(pair[column], set()).add(split)
        assert all(len(each) == 1 for each in used.values())
    assert set(splits) == {"train", "val", "test"}
    backwards = assign_splits(pairs[::-1], SplitSettings())
    assert backwards[::-1] == splits
    assert assign_splits(pairs, SplitSettings(seed=1)) != splits


@pytest.mark.parametrize(
    ("speakers", "expected"), [(1, ["train"]), (2, ["train", "val"]), (3, ["test", "train", "val"])]
)
def test_splits_of_few_speakers(speakers: int, expected: list[str]) -> None:
    assert sorted(assign_splits([(f"s{n}", f"v{n}") for n in range(speakers)], SplitSettings())) == expected


@pytest.mark.parametrize("content", [b"name,speaker\nshort\n", b"\x89PNG\xff", b"a,b\n1,2\n"])
def test_invalid_files_of_speakers_are_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "speakers.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"speakers\.csv") as error:
        read_speakers(path)
    assert error.value.code == "unreadable-file"


def test_fractions_of_the_splits() -> None:
    splits = assign_splits([(f"s{n}", f"v{n}") for n in range(200)], SplitSettings(validation=0.2, test=0.0))
    assert (splits.count("train"), splits.count("val"), splits.count("test")) == (160, 40, 0)
