"""``check`` finds every kind of fault in drawn clips."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("webdataset", reason="datasets need the extra: pip install 'retalkit[train]'")

from retalkit.errors import InputError
from retalkit_training.datasets.check import EXCLUDING, check, check_sample
from retalkit_training.datasets.clip_format import EncodedImages, PreparedClip
from retalkit_training.datasets.commands import application
from retalkit_training.datasets.faults import KINDS, CheckReport
from retalkit_training.datasets.index import DatasetIndex, read_index
from retalkit_training.datasets.settings import PrepareSettings
from retalkit_training.datasets.shards import SHARDS
from retalkit_training.datasets.writer import NewClip, write_dataset
from typer.testing import CliRunner

from tests.conftest import REPOSITORY
from tests.training.drawn_clips import drawn_clip, labelled, renamed, talking

ALWAYS = {"few-speakers", "no-coefficients"}
"""Faults of every dataset in this module."""

Fault = Callable[[Path], PreparedClip]


@pytest.fixture(scope="module")
def speakers(shared_parity_training: Path) -> Path:
    return shared_parity_training


@pytest.fixture(scope="module")
def good(speakers: Path) -> list[NewClip]:
    """Two clips without faults, by two speakers."""
    return [
        labelled(drawn_clip(speakers, 1), "anna", "train"),
        labelled(drawn_clip(speakers, 2), "ben", "val"),
    ]


def codes(report: CheckReport) -> set[str]:
    return {fault.code for fault in report.faults} - ALWAYS


def items(report: CheckReport, code: str) -> tuple[str, ...]:
    return next(fault.items for fault in report.faults if fault.code == code)


def test_dataset_without_faults(good: list[NewClip], tmp_path: Path) -> None:
    write_dataset(tmp_path, good)
    report = check(tmp_path)
    assert codes(report) == set()
    assert report.can_train
    assert report.usable == 1
    assert report.clips == {"train": 1, "val": 1}
    assert report.minutes["train"] == pytest.approx(4 / 60)


# --------------------------------------------------------------------------- faults of one clip


def silent(folder: Path) -> PreparedClip:
    return drawn_clip(folder, 3, wave=np.zeros(64000, np.float32))


def music(folder: Path) -> PreparedClip:
    time = np.arange(64000) / 16000
    chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220.0, 277.2, 329.6)) * 0.1
    clip = drawn_clip(folder, 3, wave=np.asarray(chord, np.float32))
    # Without a stored value, the voice activity is computed from the audio.
    return replace(clip, meta={name: value for name, value in clip.meta.items() if name != "speech"})


def clipped(folder: Path) -> PreparedClip:
    return drawn_clip(folder, 3, wave=np.clip(talking(folder, 3)["wave"] * 20, -1, 1))


def short(folder: Path) -> PreparedClip:
    drawn = talking(folder, 3)
    return drawn_clip(folder, 3, frames=drawn["frames"][:9], wave=drawn["wave"][: 9 * 640])


def short_audio(folder: Path) -> PreparedClip:
    return drawn_clip(folder, 3, wave=talking(folder, 3)["wave"][:48000])


def mel_with_nan(folder: Path) -> PreparedClip:
    clip = drawn_clip(folder, 3)
    return replace(clip, mel=np.where(clip.mel > 0, np.float32(np.nan), clip.mel))


def nan_coefficients(folder: Path) -> PreparedClip:
    return drawn_clip(folder, 3, arrays={"coefficients": np.full((100, 257), np.nan, np.float32)})


def late_lips(folder: Path) -> PreparedClip:
    return drawn_clip(folder, 3, delay=3)


def voice_over(folder: Path) -> PreparedClip:
    other = drawn_clip(folder, 4)
    return drawn_clip(folder, 3, wave=talking(folder, 4)["wave"], arrays={"motion": other.arrays["motion"]})


def still_mouth(folder: Path) -> PreparedClip:
    return drawn_clip(folder, 3, arrays={"lips": np.full((100, 2), 0.1)})


def missing_frames(folder: Path) -> PreparedClip:
    times = np.arange(100) / 25
    times[60:] += 0.2
    return drawn_clip(folder, 3, arrays={"source_times": times})


def repeated_frames(folder: Path) -> PreparedClip:
    return drawn_clip(folder, 3, frames=talking(folder, 3)["frames"][np.arange(100) // 2 * 2])


def two_people(folder: Path) -> PreparedClip:
    frames = talking(folder, 3)["frames"].copy()
    frames[50:] = talking(folder, 4)["frames"][50:]
    return drawn_clip(folder, 3, frames=frames)


def small_face(folder: Path) -> PreparedClip:
    return drawn_clip(folder, 3, face_width=40.0)


def blurred(folder: Path) -> PreparedClip:
    frames = np.stack([cv2.GaussianBlur(frame, (0, 0), 5) for frame in talking(folder, 3)["frames"]])
    return drawn_clip(folder, 3, frames=frames.astype(np.uint8))


def turned(folder: Path) -> PreparedClip:
    return drawn_clip(folder, 3, yaw=62.0)


def wrong_mel(folder: Path) -> PreparedClip:
    return replace(drawn_clip(folder, 3), mel=drawn_clip(folder, 4).mel)


def unequal_crops(folder: Path) -> PreparedClip:
    clip = drawn_clip(folder, 3)
    large = clip.faces[384]
    return replace(clip, faces={**clip.faces, 384: EncodedImages(large.data, large.ends[:-4])})


@pytest.mark.parametrize(
    ("code", "make", "detail"),
    [
        ("silent", silent, "RMS 0.00000"),
        ("no-speech", music, "speech in 0 %"),
        ("clipped-audio", clipped, "% of the samples"),
        ("too-short", short, "9 frames"),
        ("short-audio", short_audio, "1.00 s"),
        ("offset", late_lips, "lips 3 frames later"),
        ("voice-over", voice_over, "chance"),
        ("still-mouth", still_mouth, "0.0000"),
        ("missing-frames", missing_frames, "40 frames from frame 60 on, up to 200 ms"),
        ("repeated-frames", repeated_frames, "% of the frames"),
        ("mixed-identities", two_people, "jump"),
        ("low-resolution", small_face, "40 pixels"),
        ("blurred", blurred, "sharpness"),
        ("non-frontal", turned, "62 degrees"),
        ("wrong-mel", wrong_mel, "differences up to"),
        ("wrong-mel", mel_with_nan, "differences up to nan"),
        ("invalid-coefficients", nan_coefficients, "100 frames"),
        ("corrupt-clip", unequal_crops, "384: 96"),
    ],
)
def test_fault_of_one_clip_is_found(
    code: str, make: Fault, detail: str, good: list[NewClip], speakers: Path, tmp_path: Path
) -> None:
    faulty = labelled(make(speakers), "carl", "train")
    write_dataset(tmp_path, [*good, faulty])
    report = check(tmp_path)
    assert codes(report) == {code}
    assert len(items(report, code)) == 1
    assert "carl" in items(report, code)[0]
    assert detail in items(report, code)[0]
    assert report.can_train == (code != "corrupt-clip")
    write_dataset(tmp_path / "alone", [faulty])
    with pytest.raises(InputError) if code in EXCLUDING - {"too-short", "corrupt-clip"} else nullcontext():
        check_sample(tmp_path / "alone")
    excluding = {"silent", "no-speech", "too-short", "voice-over", "still-mouth", "wrong-mel", "corrupt-clip"}
    assert report.usable == (1 if code in excluding else 2)


# --------------------------------------------------------------------------- faults of several clips


def test_duplicates_are_found_after_encoding_again(good: list[NewClip], speakers: Path, tmp_path: Path) -> None:
    copy = replace(good[0].clip, key="clip-copy")
    quieter = drawn_clip(speakers, 1, wave=talking(speakers, 1)["wave"] * np.float32(0.9))
    write_dataset(
        tmp_path, [*good, labelled(copy, "carl", "test"), labelled(renamed(quieter, "clip-9"), "dora", "train")]
    )
    report = check(tmp_path)
    assert codes(report) == {"duplicate"}
    assert len(items(report, "duplicate")) == 3
    assert sum("test" in item for item in items(report, "duplicate")) == 2


def test_equal_frames_with_other_audio_are_found(good: list[NewClip], speakers: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frames = talking(speakers, 1)["frames"][5:]
    noisy = np.clip(frames + random.normal(0, 2, frames.shape), 0, 255).astype(np.uint8)
    copy = drawn_clip(speakers, 1, frames=noisy, wave=np.zeros(60800, np.float32))
    write_dataset(tmp_path, [*good, labelled(renamed(copy, "copy"), "carl", "test")])
    report = check(tmp_path)
    assert codes(report) == {"silent", "frame-leak"}
    assert items(report, "frame-leak") == ("anna/anna-1 clip-1 (train) and carl/carl-1 copy (test)",)


def test_two_people_with_one_name_are_found(speakers: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    face = random.uniform(-1, 1, (478, 3)).astype(np.float32)
    shapes = [face, face + 0.005 * random.standard_normal(face.shape), face + 0.1 * random.standard_normal(face.shape)]
    clips = [drawn_clip(speakers, 1 + n, arrays={"face_shape": s.astype("f4")}) for n, s in enumerate(shapes)]
    write_dataset(
        tmp_path,
        [*(labelled(clip, "anna", "train") for clip in clips), labelled(drawn_clip(speakers, 4), "ben", "val")],
    )
    report = check(tmp_path)
    assert codes(report) == {"mixed-speaker"}
    assert items(report, "mixed-speaker") == ("anna: anna/anna-1 clip-3",)


def test_wrong_frame_rate_is_found(good: list[NewClip], tmp_path: Path) -> None:
    write_dataset(tmp_path, [replace(good[0], facts={"rate": 29.97}), good[1]])
    report = check(tmp_path)
    assert codes(report) == {"frame-rate"}
    assert items(report, "frame-rate") == ("anna/anna-1: 29.97 frames per second",)


def test_leaks_between_splits_are_found(good: list[NewClip], tmp_path: Path) -> None:
    write_dataset(tmp_path, [good[0], replace(good[1], speaker="anna", video="anna-1")])
    report = check(tmp_path)
    assert codes(report) == {"speaker-leak", "video-leak"}
    assert items(report, "speaker-leak") == ("anna: train, val",)


def test_missing_and_truncated_shards_are_found(good: list[NewClip], tmp_path: Path) -> None:
    index = write_dataset(tmp_path, good)
    paths = {shard.split: tmp_path / SHARDS / shard.name for shard in index.shards}
    paths["val"].unlink()
    paths["train"].write_bytes(paths["train"].read_bytes()[:20000])
    report = check(tmp_path)
    assert codes(report) == {"missing-shard", "corrupt-clip", "no-usable-clips"}
    assert "truncated" in items(report, "corrupt-clip")[0]
    assert not report.can_train


def test_damaged_bytes_are_found(good: list[NewClip], tmp_path: Path) -> None:
    index = write_dataset(tmp_path, good)
    path = tmp_path / SHARDS / index.of_split("train")[0].shard
    content = bytearray(path.read_bytes())
    content[100_000:300_000] = bytes(200_000)
    path.write_bytes(content)
    report = check(tmp_path)
    assert codes(report) == {"corrupt-clip", "no-usable-clips"}


def test_empty_splits_are_found(good: list[NewClip], tmp_path: Path) -> None:
    write_dataset(tmp_path, [replace(new, split="test") for new in good])
    report = check(tmp_path)
    assert codes(report) == {"empty-train", "empty-validation"}
    assert not report.can_train
    assert report.clips == {"train": 0, "test": 2}


def test_rejected_parts_and_videos_without_clips_are_reported(good: list[NewClip], tmp_path: Path) -> None:
    index = write_dataset(tmp_path, good)
    rejected = {"first": 0.0, "last": 2.0, "reason": "blurred", "detail": "sharpness 3.0"}
    first, second = index.videos
    without = replace(second, path="c.mp4", clips=(), error="c.mp4: the file has no audio stream")
    copy = replace(second, path="d.mp4", clips=(), duplicate_of="b.mp4")
    videos = (replace(first, rejected=(rejected,)), second, without, copy)
    replace_index(tmp_path, replace(index, videos=videos))
    report = check(tmp_path)
    assert codes(report) == {"rejected-part", "unusable-video", "duplicate"}
    assert "blurred, sharpness 3.0" in items(report, "rejected-part")[0]
    assert "no audio stream" in items(report, "unusable-video")[0]
    assert items(report, "duplicate") == ("d.mp4 = b.mp4",)


def test_few_speakers_and_missing_coefficients_are_found(good: list[NewClip], tmp_path: Path) -> None:
    index = write_dataset(tmp_path, good)
    report = check(tmp_path)
    assert "1 speaker, expected at least 20" in items(report, "few-speakers")[0]
    assert "D-Net" in KINDS["no-coefficients"].effect
    replace_index(tmp_path, replace(index, coefficients="bfm257"))
    assert "no-coefficients" not in {fault.code for fault in check(tmp_path).faults}


def replace_index(folder: Path, index: DatasetIndex) -> None:
    index.write(folder)
    assert read_index(folder) == index


# --------------------------------------------------------------------------- command


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(application(), ["check", "-q", *map(str, arguments)])


def test_text_report_and_exit_code(good: list[NewClip], speakers: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path, [*good, labelled(silent(speakers), "carl", "train")])
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "train: 2 clips, 0.1 min, 2 speakers" in result.output
    assert "val: 1 clip, 0.1 min, 1 speaker\n" in result.output
    assert "[few-speakers]\n" in result.output
    assert "[silent]: 1 of 3" in result.output
    assert KINDS["silent"].effect in result.output
    assert "training can work (0 errors, 3 warnings)" in result.output


def test_json_report_and_exit_code(good: list[NewClip], tmp_path: Path) -> None:
    write_dataset(tmp_path, [replace(new, split="val") for new in good])
    result = run(tmp_path, "--json")
    assert result.exit_code == 1
    report = json.loads(result.output)
    assert not report["can_train"]
    assert report["faults"][0]["code"] == "empty-train"
    assert set(report["faults"][0]) == {"code", "severity", "title", "effect", "count", "total", "items"}


def test_other_directories_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        check(tmp_path)
    assert error.value.code == "not-a-dataset"
    (tmp_path / "dataset.json").write_text('{"format": 99}')
    with pytest.raises(InputError) as error:
        check(tmp_path)
    assert error.value.code == "unsupported-format"


def test_all_faults_are_documented() -> None:
    page = (REPOSITORY / "docs" / "datasets.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if "| error |" in line or "| warning |" in line]
    assert rows == [f"| `{code}` | {kind.severity} | {kind.title} | {kind.effect} |" for code, kind in KINDS.items()]


def test_thresholds_are_those_of_the_quality_filter() -> None:
    assert PrepareSettings().shortest == 16
