"""Bad input: one clear line, exit code 2, and no half file."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest
from commands import Done, call


def make_video(path: Path, frames: int = 12, size: tuple[int, int] = (160, 120)) -> Path:
    """A clip of moving stripes, without any face."""
    width, height = size
    rows = np.arange(height)[:, None, None]
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            picture = np.broadcast_to((rows * 3 + index * 5) % 256, (height, width, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
    return path


def make_sound(path: Path, seconds: float = 0.5, level: float = 0.3) -> Path:
    rate = 16000
    time = np.arange(round(seconds * rate)) / rate
    samples = (level * 32767 * np.sin(2 * np.pi * 220 * time)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "stripes.mp4")


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return make_sound(tmp_path / "tone.wav")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


def dub(capsys: pytest.CaptureFixture[str], video: Path, speech: Path, output: Path, *more: object) -> Done:
    return call(capsys, "dub", video, speech, "-o", output, "--cache", output.parent.parent / "cache", *more)


def check_refused(done: Done, results: Path, *parts: str) -> None:
    assert done.code == 2, done.err
    assert done.error.startswith("retalkit: error: ")
    for part in parts:
        assert part in done.error
    assert list(results.iterdir()) == []


def test_a_missing_video(capsys: pytest.CaptureFixture[str], sound: Path, results: Path) -> None:
    check_refused(dub(capsys, results / "absent.mp4", sound, results / "out.mp4"), results, "absent.mp4")


def test_a_missing_speech(capsys: pytest.CaptureFixture[str], video: Path, results: Path) -> None:
    check_refused(dub(capsys, video, results / "absent.wav", results / "out.mp4"), results, "absent.wav")


def test_a_folder_as_video(capsys: pytest.CaptureFixture[str], sound: Path, results: Path, tmp_path: Path) -> None:
    check_refused(dub(capsys, tmp_path, sound, results / "out.mp4"), results, str(tmp_path))


def test_a_sound_as_video(capsys: pytest.CaptureFixture[str], sound: Path, results: Path) -> None:
    check_refused(dub(capsys, sound, sound, results / "out.mp4"), results, "tone.wav")


def test_a_video_without_sound_as_speech(capsys: pytest.CaptureFixture[str], video: Path, results: Path) -> None:
    check_refused(dub(capsys, video, video, results / "out.mp4"), results, "stripes.mp4", "sound")


@pytest.mark.parametrize("which", ["video", "speech"])
def test_an_empty_file(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path, tmp_path: Path, which: str
) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    inputs = (empty, sound) if which == "video" else (video, empty)
    check_refused(dub(capsys, *inputs, results / "out.mp4"), results, "empty.mp4")


def test_a_truncated_mp4(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.mp4"
    data = video.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    check_refused(dub(capsys, cut, sound, results / "out.mp4"), results, "cut.mp4")


def test_words_as_video(capsys: pytest.CaptureFixture[str], sound: Path, results: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.mp4"
    words.write_text("these are words\n" * 100, encoding="utf-8")
    check_refused(dub(capsys, words, sound, results / "out.mp4"), results, "words.mp4")


def test_no_face_anywhere(capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path) -> None:
    check_refused(dub(capsys, video, sound, results / "out.mp4"), results, "no face", "stripes.mp4")


def test_an_output_folder_that_is_not_there(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path
) -> None:
    check_refused(dub(capsys, video, sound, results / "absent" / "out.mp4"), results, "absent")


def test_an_output_that_is_a_folder(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, tmp_path: Path, results: Path
) -> None:
    folder = tmp_path / "out.mp4"
    folder.mkdir()
    check_refused(dub(capsys, video, sound, folder, "--force"), results, "out.mp4")
    assert list(folder.iterdir()) == []


def test_an_output_in_a_folder_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path
) -> None:
    check_refused(
        dub(capsys, video, sound, Path("/proc/out.mp4"), "--cache", results.parent / "cache"), results, "/proc"
    )


def test_an_output_without_a_known_ending(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path
) -> None:
    check_refused(dub(capsys, video, sound, results / "out.xyz"), results, "out.xyz", ".mp4")


def test_an_output_that_exists_is_kept_without_force(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path
) -> None:
    output = results / "out.mp4"
    output.write_bytes(b"precious")
    done = dub(capsys, video, sound, output)
    assert done.code == 2
    assert "--force" in done.error
    assert output.read_bytes() == b"precious"


def test_the_input_is_never_the_output(capsys: pytest.CaptureFixture[str], video: Path, sound: Path) -> None:
    before = video.read_bytes()
    done = dub(capsys, video, sound, video, "--force")
    assert done.code == 2
    assert "stripes.mp4" in done.error
    assert video.read_bytes() == before


def test_a_typo_in_the_configuration(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path, tmp_path: Path
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("preset: embedded\nlip_synce: exemplar\n", encoding="utf-8")
    done = dub(capsys, video, sound, results / "out.mp4", "--config", file)
    check_refused(done, results, "run.yaml, line 2", "did you mean 'lip_syncer'?")


def test_silent_speech_is_fine_and_said(
    capsys: pytest.CaptureFixture[str], shared_media: Path, tmp_path: Path, results: Path
) -> None:
    silence = make_sound(tmp_path / "silence.wav", seconds=0.4, level=0.0)
    output = results / "out.mp4"
    done = dub(capsys, shared_media / "talk_woman_590p25.mp4", silence, output, "--set", "analysis_seconds=0.5")
    assert done.code == 0, done.err
    assert "the mouth stays at rest" in done.err
    assert output.stat().st_size > 0
    assert str(output) in done.out
