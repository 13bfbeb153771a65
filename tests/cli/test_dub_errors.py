"""Invalid input: one line, exit code 2, and no partial output file."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from commands import Done, call
from scipy.io import wavfile


def make_video(path: Path, frames: int = 12, size: tuple[int, int] = (160, 120)) -> Path:
    """Write a clip of moving stripes without a face."""
    width, height = size
    rows = np.arange(height)[:, None, None]
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            image = np.broadcast_to((rows * 3 + index * 5) % 256, (height, width, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())
    return path


def make_sound(path: Path, seconds: float = 0.5, level: float = 0.3) -> Path:
    rate = 16000
    time = np.arange(round(seconds * rate)) / rate
    samples = (level * 32767 * np.sin(2 * np.pi * 220 * time)).astype(np.int16)
    wavfile.write(path, rate, samples)
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


def check_user_error(done: Done, results: Path, *parts: str) -> None:
    assert done.code == 2, done.err
    assert done.error.startswith("retalkit: error: ")
    for part in parts:
        assert part in done.error
    assert list(results.iterdir()) == []


def test_missing_video(capsys: pytest.CaptureFixture[str], sound: Path, results: Path) -> None:
    check_user_error(dub(capsys, results / "absent.mp4", sound, results / "out.mp4"), results, "absent.mp4")


def test_missing_speech(capsys: pytest.CaptureFixture[str], video: Path, results: Path) -> None:
    check_user_error(dub(capsys, video, results / "absent.wav", results / "out.mp4"), results, "absent.wav")


def test_folder_as_video(capsys: pytest.CaptureFixture[str], sound: Path, results: Path, tmp_path: Path) -> None:
    check_user_error(dub(capsys, tmp_path, sound, results / "out.mp4"), results, str(tmp_path))


def test_audio_file_as_video(capsys: pytest.CaptureFixture[str], sound: Path, results: Path) -> None:
    check_user_error(dub(capsys, sound, sound, results / "out.mp4"), results, "tone.wav")


def test_video_without_audio_as_speech(capsys: pytest.CaptureFixture[str], video: Path, results: Path) -> None:
    check_user_error(dub(capsys, video, video, results / "out.mp4"), results, "stripes.mp4", "audio")


@pytest.mark.parametrize("which", ["video", "speech"])
def test_empty_file(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path, tmp_path: Path, which: str
) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    inputs = (empty, sound) if which == "video" else (video, empty)
    check_user_error(dub(capsys, *inputs, results / "out.mp4"), results, "empty.mp4")


def test_truncated_mp4(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.mp4"
    data = video.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    check_user_error(dub(capsys, cut, sound, results / "out.mp4"), results, "cut.mp4")


def test_text_file_as_video(capsys: pytest.CaptureFixture[str], sound: Path, results: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("plain text\n" * 100, encoding="utf-8")
    check_user_error(dub(capsys, text, sound, results / "out.mp4"), results, "text.mp4")


def test_video_without_a_face(capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path) -> None:
    check_user_error(dub(capsys, video, sound, results / "out.mp4"), results, "no face", "stripes.mp4")


def test_missing_output_folder(capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path) -> None:
    check_user_error(dub(capsys, video, sound, results / "absent" / "out.mp4"), results, "absent")


def test_output_is_a_folder(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, tmp_path: Path, results: Path
) -> None:
    folder = tmp_path / "out.mp4"
    folder.mkdir()
    check_user_error(dub(capsys, video, sound, folder, "--force"), results, "out.mp4")
    assert list(folder.iterdir()) == []


def test_output_folder_is_not_writable(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path
) -> None:
    check_user_error(
        dub(capsys, video, sound, Path("/proc/out.mp4"), "--cache", results.parent / "cache"), results, "/proc"
    )


def test_output_with_an_unknown_suffix(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path
) -> None:
    check_user_error(dub(capsys, video, sound, results / "out.xyz"), results, "out.xyz", ".mp4")


def test_existing_output_requires_force(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path
) -> None:
    output = results / "out.mp4"
    output.write_bytes(b"existing")
    done = dub(capsys, video, sound, output)
    assert done.code == 2
    assert "--force" in done.error
    assert output.read_bytes() == b"existing"


def test_input_is_never_overwritten(capsys: pytest.CaptureFixture[str], video: Path, sound: Path) -> None:
    before = video.read_bytes()
    done = dub(capsys, video, sound, video, "--force")
    assert done.code == 2
    assert "stripes.mp4" in done.error
    assert video.read_bytes() == before


def test_unknown_key_in_the_run_file(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path, tmp_path: Path
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("preset: embedded\nlip_synce: exemplar\n", encoding="utf-8")
    done = dub(capsys, video, sound, results / "out.mp4", "--config", file)
    check_user_error(done, results, "run.yaml", "2", "did you mean 'lip_syncer'?")


def test_silent_speech_is_accepted_with_a_note(
    capsys: pytest.CaptureFixture[str], shared_media: Path, tmp_path: Path, results: Path
) -> None:
    silence = make_sound(tmp_path / "silence.wav", seconds=0.4, level=0.0)
    output = results / "out.mp4"
    done = dub(capsys, shared_media / "talk_woman_590p25.mp4", silence, output, "--set", "analysis_seconds=0.5")
    assert done.code == 0, done.err
    assert "the mouth stays at rest" in done.err
    assert output.stat().st_size > 0
    assert str(output) in done.out


@pytest.mark.parametrize(("value", "fact"), [("0", "or equal to 1"), ("two", "must be a valid integer")])
def test_invalid_number_of_processes(
    capsys: pytest.CaptureFixture[str], video: Path, sound: Path, results: Path, value: str, fact: str
) -> None:
    done = dub(capsys, video, sound, results / "out.mp4", "--processes", value)
    check_user_error(done, results, "'--processes': must be", fact)
    assert "Input should" not in done.error and "parse" not in done.error
