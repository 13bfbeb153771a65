"""``prepare`` on short parts of real videos."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("webdataset", reason="datasets need the extra: pip install 'retalkit[train]'")

import av
import retalkit_training.datasets.prepare as prepare_module
from numpy.typing import NDArray
from retalkit.errors import InputError, OutputError, PlanError
from retalkit.media.sound import pcm
from retalkit.media.sources import open_source
from retalkit.plugins.discovery import discover
from retalkit.speech.mel import mel_spectrogram
from retalkit.weights.store import WeightStore
from retalkit_renderers.lnet.face_region import network_faces
from retalkit_renderers.lnet.interface import LNetConfig
from retalkit_renderers.lower_face import face_box
from retalkit_training.datasets.check import check
from retalkit_training.datasets.commands import application
from retalkit_training.datasets.extraction import Extractor
from retalkit_training.datasets.index import read_index
from retalkit_training.datasets.layouts import SourceVideo, find_sources
from retalkit_training.datasets.prepare import PrepareReport, prepare
from retalkit_training.datasets.settings import PrepareSettings
from retalkit_training.datasets.shards import ShardReader, stream
from retalkit_training.loop.data import check_data
from retalkit_training.tasks.prepared_data import PreparedData
from scipy.io import wavfile
from typer.testing import CliRunner

WOMAN = "talk_woman_590p25.mp4"


def cut(source: Path, target: Path, frames: int, *, delay: float = 0.0, blur: float = 0.0) -> Path:
    """Write the first frames of a video with its audio. ``delay``: seconds of silence before the audio."""
    images = [image for _, image in open_source(source).read(range(frames))]
    wave = np.concatenate([np.zeros(round(delay * 16000), np.float32), pcm(source)])[: frames * 640]
    with av.open(target, "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "16", "preset": "ultrafast"})
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for image in images:
            shown = cv2.GaussianBlur(image, (0, 0), blur) if blur else image
            container.mux(video.encode(av.VideoFrame.from_ndarray(shown.astype(np.uint8), format="rgb24")))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(np.round(wave[None] * 32767).astype(np.int16), format="s16", layout="mono")
        sound.sample_rate, sound.time_base = 16000, Fraction(1, 16000)
        container.mux(audio.encode(sound))
        container.mux(audio.encode())
    return target


def source(path: Path, speaker: str = "") -> SourceVideo:
    return SourceVideo(path=path, speaker=speaker or path.stem, video=path.stem)


@pytest.fixture(scope="module")
def short(shared_media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of a real speaker."""
    return cut(shared_media / WOMAN, tmp_path_factory.mktemp("videos") / "short.mkv", 25)


@pytest.fixture(scope="module")
def other(shared_media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut(shared_media / WOMAN, tmp_path_factory.mktemp("videos") / "other.mkv", 20)


@pytest.fixture(scope="module")
def late(shared_media: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PrepareReport]:
    """Dataset from a real video whose audio is 3 frames later than in the original."""
    folder = tmp_path_factory.mktemp("late")
    path = cut(shared_media / WOMAN, folder / "late.mkv", 120, delay=0.12)
    return folder / "data", prepare([source(path, "woman")], folder / "data", PrepareSettings(longest=70))


def test_offset_is_removed(late: tuple[Path, PrepareReport], shared_media: Path) -> None:
    folder, report = late
    video = report.index.videos[0]
    # The sound is three frames late. The lips of the original are about 1.5 frames early, and -2 has the highest score.
    assert video.facts["estimate"]["offset"] == -5
    assert video.facts["corrected_offset"] == -5
    assert video.facts["estimate"]["follows"]
    assert {fault.code for fault in check(folder).faults} & {"offset", "voice-over"} == set()
    clip = ShardReader(folder).read(min(report.index.clips, key=lambda entry: entry.offset))
    start = round(clip.meta["first_seconds"] * 16000) + 2 * 640
    expected = pcm(shared_media / WOMAN)[start : start + len(clip.wave)]
    assert np.corrcoef(clip.waveform()[1000:-1000], expected[1000 : len(clip.wave) - 1000])[0, 1] > 0.98


def test_clips_contain_everything_that_training_reads(late: tuple[Path, PrepareReport]) -> None:
    folder, report = late
    assert report.computed == 1
    clips = [clip for _, clip in stream(folder, "train")]
    assert len(clips) == 2
    assert sum(clip.frame_count for clip in clips) == 115
    for clip in clips:
        count = clip.frame_count
        assert len(clip.wave) == 640 * count
        np.testing.assert_array_equal(clip.mel, mel_spectrogram(clip.waveform()))
        assert {side: len(images) for side, images in clip.faces.items()} == {96: count, 256: count, 384: count}
        assert {name: array.shape for name, array in clip.arrays.items()} == {
            "landmarks": (count, 478, 2),
            "crop_boxes": (count, 4),
            "face_boxes": (count, 4),
            "source_frames": (count,),
            "source_times": (count,),
            "lips": (count, 2),
            "motion": (count + 18, 2),
            "face_shape": (478, 3),
        }
        assert clip.meta["landmark_scheme"] == "mesh478"
        # The crop of E-Net contains the same part of the image as the crop of L-Net.
        small = cv2.resize(clip.images(384, 0, 1)[0], (96, 96), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(small - clip.images(96, 0, 1)[0]).mean() < 4
        assert (clip.arrays["crop_boxes"][:, 2] - clip.arrays["crop_boxes"][:, 0]).mean() > 1.2 * clip.meta[
            "face_width"
        ]
        assert 0 < clip.arrays["landmarks"].mean() < 256


def test_faces_have_the_box_of_the_lip_syncer(short: Path, tmp_path: Path) -> None:
    frame = next(image for _, image in open_source(short).read([0]))
    boxes: list[NDArray[np.float32]] = []
    for chin in (0.0, LNetConfig().chin):
        folder = tmp_path / str(chin)
        settings = PrepareSettings() if chin else PrepareSettings(chin=0.0)
        report = prepare([source(short)], folder, settings)
        clip = ShardReader(folder).read(report.index.clips[0])
        boxes.append(clip.arrays["face_boxes"][0])
        assert (PreparedData(folder).chin, clip.arrays["source_frames"][0]) == (chin, 0)
    expected = face_box(boxes[0], LNetConfig().chin, frame.shape[1], frame.shape[0])
    assert expected is not None
    np.testing.assert_allclose(boxes[1], expected, atol=1)  # The detected box is not rounded.
    seen = (network_faces(frame, frame, boxes[1])[3:][::-1].transpose(1, 2, 0) * 255).astype(float)
    assert np.abs(seen - clip.images(96, 0, 1)[0]).mean() < 4


def test_reason_for_missing_coefficients_is_kept(late: tuple[Path, PrepareReport]) -> None:
    index = read_index(late[0])
    assert index.coefficients == ""
    assert "face3d" in index.without_coefficients
    assert "weights pull" in index.without_coefficients


def test_second_call_computes_nothing(
    short: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare([source(short)], tmp_path)
    assert (first.computed, first.reused) == (1, 0)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")}
    state = {path.name for path in tmp_path.iterdir()}
    assert state == {".lock", "dataset.json", "shards", "state", "work"}
    assert not list((tmp_path / "work").iterdir())

    def fail(*_: Any) -> None:
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(Extractor, "extract", fail)
        again = prepare([source(short)], tmp_path)
    assert (again.computed, again.reused) == (0, 1)
    assert again.index == first.index
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")} == before

    # A copy under another name is a duplicate, and earlier videos stay in the dataset.
    copy = tmp_path.parent / f"{tmp_path.name}-copy.mp4"
    copy.write_bytes(short.read_bytes())
    more = prepare([source(other), source(copy)], tmp_path)
    assert more.computed == 1
    assert {Path(video.path).name: bool(video.clips) for video in more.index.videos} == {
        "short.mkv": True,
        copy.name: False,
        "other.mkv": True,
    }
    assert {entry.split for entry in more.index.clips} == {"train", "val"}
    assert len([*stream(tmp_path, "train"), *stream(tmp_path, "val")]) == 2


def test_other_directories_are_not_changed(short: Path, tmp_path: Path) -> None:
    shard = tmp_path / "shards" / "own.tar"
    shard.parent.mkdir()
    shard.touch()
    with pytest.raises(OutputError, match="contains no dataset") as error:
        prepare([source(short)], tmp_path)
    assert error.value.code == "output-exists"
    assert [path.name for path in tmp_path.rglob("*")] == ["shards", "own.tar"]


def test_killed_call_resumes(short: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract: Callable[..., Any] = Extractor.extract
    done: list[str] = []

    def once(self: Extractor, video: SourceVideo, folder: Path, key: str) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(key)
        return extract(self, video, folder, key)

    sources = find_sources([short, other])
    with monkeypatch.context() as patch:
        patch.setattr(Extractor, "extract", once)
        with pytest.raises(KeyboardInterrupt):
            prepare(sources, tmp_path)
    assert not (tmp_path / "dataset.json").exists()
    report = prepare(sources, tmp_path)
    assert (report.computed, report.reused) == (1, 1)
    assert len(report.index.clips) == 2

    # A call that was killed before its shards were written resumes from the separate clips.
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "pack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(sources, tmp_path / "second")
    report = prepare(sources, tmp_path / "second")
    assert (report.computed, report.reused) == (0, 2)
    assert len(report.index.clips) == 2


def test_reference_faces_have_closed_mouths(short: Path, tmp_path: Path) -> None:
    report = prepare([source(short)], tmp_path, PrepareSettings(references="neutral_warp", restore="auto"))
    assert report.index.references == "neutral_warp"
    assert report.index.restoration == "none"
    assert "gpen" in report.unrestored
    _, clip = next(stream(tmp_path, "train", sides=(96,)))
    assert clip.references is not None
    assert len(clip.references) == clip.frame_count
    faces = clip.images(96).astype(int)
    edited = np.stack([clip.references.decode(index) for index in range(clip.frame_count)]).astype(int)
    change = np.abs(edited - faces).mean((1, 2, 3))
    opening = clip.arrays["lips"][:, 0]
    assert change[opening.argmax()] > 2 * change[opening.argmin()]
    upper = np.abs(edited - faces)[:, :40].mean()
    assert upper < 2 < np.abs(edited - faces)[:, 56:].mean()
    data = PreparedData(tmp_path)
    assert data.reference_editor == "neutral_warp"
    shown = data.clips("train")[0].references([3])
    assert shown is not None
    np.testing.assert_array_equal(shown[0, ..., ::-1], edited[3])
    with pytest.raises(PlanError, match="face3d") as error:
        prepare([source(short)], tmp_path / "dnet", PrepareSettings(references="dnet"))
    assert error.value.code == "missing-coefficients"
    with pytest.raises(PlanError, match="weights pull gpen") as error:
        prepare([source(short)], tmp_path / "gpen", PrepareSettings(restore="gpen"))
    assert error.value.code == "missing-weights"


def test_photos_are_clips_of_one_frame(shared_media: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    _, image = next(iter(open_source(shared_media / WOMAN).read([5])))
    cv2.imwrite(str(folder / "woman.png"), image[..., ::-1])
    cv2.imwrite(str(folder / "wall.png"), np.full((200, 200, 3), 120, np.uint8))
    report = prepare(find_sources([folder]), tmp_path / "data")
    assert [(entry.speaker, entry.frames) for entry in report.index.clips] == [("woman", 1)]
    assert {Path(video.path).name: bool(video.error) for video in report.index.videos} == {
        "woman.png": False,
        "wall.png": True,
    }
    faults = {fault.code for fault in check(tmp_path / "data").faults}
    assert "photo" in faults
    assert faults & {"silent", "too-short", "missing-frames", "no-usable-clips"} == set()
    data = PreparedData(tmp_path / "data")
    with pytest.raises(InputError, match="1 frames") as error:
        check_data(data, 96)
    assert error.value.code == "clips-too-short"
    check_data(data, 256, shortest=1, sound=False)


def test_quality_filter(shared_media: Path, tmp_path: Path) -> None:
    path = cut(shared_media / WOMAN, tmp_path / "blurred.mkv", 20, blur=9)
    with pytest.raises(InputError, match="blurred") as error:
        prepare([source(path)], tmp_path / "data")
    assert error.value.code == "no-clips"
    assert read_index(tmp_path / "data").videos[0].rejected[0]["reason"] == "blurred"
    kept = prepare([source(path)], tmp_path / "kept", PrepareSettings(filter=False))
    assert len(kept.index.clips) == 1
    assert "blurred" in {fault.code for fault in check(tmp_path / "kept").faults}
    with pytest.raises(InputError, match=r"blurred\.mkv") as error:
        prepare([source(shared_media / "speech_16k_mono.wav")], tmp_path / "kept")
    assert error.value.code == "other-settings"


@pytest.mark.slow
def test_two_people_with_one_name(shared_media: Path, tmp_path: Path) -> None:
    silent, sitting = (
        shared_media / "silent_woman_1280x720p30.mp4",
        shared_media / "sitting_woman_1080x1920p25_hevc.mp4",
    )
    videos = [
        cut(silent, tmp_path / "a.mkv", 18),
        cut(silent, tmp_path / "b.mkv", 22),
        cut(sitting, tmp_path / "c.mkv", 18),
    ]
    prepare([source(video, "anna") for video in videos], tmp_path / "data")
    found = {fault.code: fault.items for fault in check(tmp_path / "data").faults}
    assert len(found["mixed-speaker"]) == 1
    assert "c.mkv" in found["mixed-speaker"][0]


def test_wav2lip_folder(late: tuple[Path, PrepareReport], tmp_path: Path) -> None:
    """Missing numbers separate clips."""
    clip = min((c for _, c in stream(late[0], "train")), key=lambda c: c.meta["first_seconds"])
    folder = tmp_path / "lrs2" / "speaker7" / "00001"
    folder.mkdir(parents=True)
    for number, face in enumerate(clip.images(384, 0, 44)):
        if number not in (20, 21):
            cv2.imwrite(str(folder / f"{number}.jpg"), face[..., ::-1][:, 20:364])
    wavfile.write(folder / "audio.wav", 16000, clip.wave)
    sources = find_sources([tmp_path / "lrs2"])
    report = prepare(sources, tmp_path / "data", PrepareSettings(smallest_face=40))
    assert sorted(entry.frames for entry in report.index.clips) == [20, 22]
    assert report.index.clips[0].speaker == "speaker7"
    _, made = next(stream(tmp_path / "data", "train"))
    first = round(made.meta["first_seconds"] * 25)
    published = cv2.resize(np.ascontiguousarray(clip.images(384, first, first + 1)[0][:, 20:364]), (96, 96)).astype(
        float
    )
    assert np.abs(made.images(96, 0, 1)[0] - published).mean() < 6


def test_videos_that_cannot_be_used_are_listed(moving_head: Path, short: Path, tmp_path: Path) -> None:
    notes: list[str] = []

    class Notes(prepare_module.SilentObserver):
        def note(self, text: str) -> None:
            notes.append(text)

    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video")
    report = prepare([source(moving_head), source(short), source(damaged)], tmp_path / "data", observer=Notes())
    errors = {Path(video.path).name: video.facts.get("code") for video in report.index.videos}
    assert errors == {"moving_head.mp4": "no-audio-stream", "short.mkv": None, "damaged.mp4": "unreadable-media"}
    assert len(notes) == 2
    assert len(next(f.items for f in check(tmp_path / "data").faults if f.code == "unusable-video")) == 2


def test_internal_error_of_one_video_is_not_stored(
    short: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner: Callable[..., Any] = Extractor._extract  # pyright: ignore[reportPrivateUsage]

    def fail(self: Extractor, video: SourceVideo, *rest: Any) -> Any:
        if video.path == other:
            raise RuntimeError("a bug")
        return inner(self, video, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Extractor, "_extract", fail)
        report = prepare([source(short), source(other)], tmp_path)
    assert {Path(video.path).name: video.facts.get("code") for video in report.index.videos} == {
        "short.mkv": None,
        "other.mkv": "internal-error",
    }
    assert "RuntimeError: a bug" in next(f.items[0] for f in check(tmp_path).faults if f.code == "unusable-video")
    again = prepare([source(short), source(other)], tmp_path)
    assert (again.computed, again.reused) == (1, 1)
    assert len(again.index.clips) == 2


def test_two_calls_at_once_are_refused(short: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(OutputError) as error:
        prepare([source(short)], tmp_path)
    assert error.value.code == "dataset-in-use"


def test_command(short: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(application(), ["prepare", str(short), "-o", str(tmp_path / "data")])
    assert result.exit_code == 0, result.output
    assert "1 clip, 0.0 min, 1 shard" in result.output
    assert "which only D-Net needs" in result.output
    result = runner.invoke(application(), ["check", "-q", "--json", str(tmp_path / "data")])
    assert result.exit_code == 0
    assert json.loads(result.output)["clips"] == {"train": 1}
    result = runner.invoke(application(), ["prepare", str(short), "-o", str(tmp_path / "data"), "--layout", "lrs9"])
    assert getattr(result.exception, "code", "") == "unknown-layout"


@pytest.mark.slow
def test_dnet_references_and_restored_faces(
    other: Path,
    pseudo_weights: Callable[[str], Path],
    shared_parity: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RETALKIT_HOME", str(tmp_path / "home"))
    store, registry = WeightStore(), discover()
    for name in ("face3d", "dnet", "gpen"):
        store.add(registry.checkpoint(name), pseudo_weights(name))
    store.add(registry.checkpoint("bfm_landmarks"), shared_parity / "similarity_Lm3D_all.mat")
    store.add(registry.checkpoint("expression_templates"), shared_parity / "expression.mat")
    plain = prepare([source(other)], tmp_path / "plain")
    report = prepare([source(other)], tmp_path / "data", PrepareSettings(references="dnet", restore="auto"))
    assert (report.index.references, report.index.restoration, report.unrestored) == ("dnet", "gpen", "")
    assert report.index.videos[0].key != plain.index.videos[0].key
    _, clip = next(stream(tmp_path / "data", "train"))
    _, before = next(stream(tmp_path / "plain", "train"))
    np.testing.assert_array_equal(clip.images(96), before.images(96))
    assert np.abs(clip.images(384).astype(int) - before.images(384)).mean() > 2
    assert clip.references is not None
    assert np.abs(clip.references.decode(0).astype(int) - clip.images(96, 0, 1)[0]).mean() > 2


@pytest.mark.slow
def test_coefficients_are_fitted_with_weights(
    short: Path,
    pseudo_weights: Callable[[str], Path],
    shared_parity: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RETALKIT_HOME", str(tmp_path / "home"))
    store, registry = WeightStore(), discover()
    store.add(registry.checkpoint("face3d"), pseudo_weights("face3d"))
    store.add(registry.checkpoint("bfm_landmarks"), shared_parity / "similarity_Lm3D_all.mat")
    report = prepare([source(short)], tmp_path / "data")
    assert report.index.coefficients == "bfm257"
    assert report.index.without_coefficients == ""
    _, clip = next(stream(tmp_path / "data", "train"))
    assert clip.arrays["coefficients"].shape == (clip.frame_count, 262)
    assert np.isfinite(clip.arrays["coefficients"]).all()
    assert "no-coefficients" not in {fault.code for fault in check(tmp_path / "data").faults}


@pytest.mark.slow
def test_several_processes_make_the_same_dataset(short: Path, other: Path, tmp_path: Path) -> None:
    sources = find_sources([short, other])
    one = prepare(sources, tmp_path / "one")
    two = prepare(sources, tmp_path / "two", jobs=2)
    assert two.computed == 2
    assert one.index == two.index
    for shard in one.index.shards:
        contents = [(tmp_path / name / "shards" / shard.name).read_bytes() for name in ("one", "two")]
        assert contents[0] == contents[1]
