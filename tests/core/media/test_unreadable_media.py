from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import make_wave, steady_clip
from retalkit.errors import InputError
from retalkit.media.containers import probe_video
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source


@pytest.fixture
def bad_files(tmp_path: Path) -> dict[str, Path]:
    files = {
        name: tmp_path / name for name in ("missing.mp4", "folder", "empty.mp4", "text.txt", "half.mp4", "cut.png")
    }
    files["folder"].mkdir()
    files["empty.mp4"].touch()
    files["text.txt"].write_text("This is a letter, not a film.\n" * 50)
    whole = steady_clip(tmp_path / "whole.mp4", 30)
    files["half.mp4"].write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    files["cut.png"].write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    files["sound.wav"] = make_wave(tmp_path / "sound.wav", np.zeros(8000), 8000)
    files["silent.mp4"] = whole
    return files


def one_line(error: pytest.ExceptionInfo[InputError], path: Path) -> str:
    text = str(error.value)
    assert "\n" not in text and path.name in text
    return text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.mp4", "does not exist"),
        ("folder", "is a folder"),
        ("empty.mp4", "0 bytes"),
        ("text.txt", "not media"),
        ("half.mp4", "moov"),
        ("sound.wav", "has sound but no picture; give it as SPEECH"),
    ],
)
def test_what_is_not_a_video(bad_files: dict[str, Path], name: str, says: str) -> None:
    for attempt in (open_source, probe_video):
        with pytest.raises(InputError) as error:
            attempt(bad_files[name])
        assert says in one_line(error, bad_files[name])


def test_broken_photo(bad_files: dict[str, Path]) -> None:
    with pytest.raises(InputError) as error:
        open_source(bad_files["cut.png"])
    assert "picture" in one_line(error, bad_files["cut.png"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.mp4", "does not exist"),
        ("folder", "is a folder"),
        ("empty.mp4", "0 bytes"),
        ("text.txt", "not media"),
        ("half.mp4", "moov"),
        ("silent.mp4", "has no sound"),
    ],
)
def test_what_is_not_a_sound(bad_files: dict[str, Path], name: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        open_sound(bad_files[name])
    assert says in one_line(error, bad_files[name])


def test_wave_without_samples(tmp_path: Path) -> None:
    path = make_wave(tmp_path / "nothing.wav", np.zeros(0), 16000)
    with pytest.raises(InputError) as error:
        open_sound(path)
    one_line(error, path)


def test_video_without_a_frame_that_decodes(tmp_path: Path) -> None:
    path = steady_clip(tmp_path / "zeros.mp4", 10)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for start, size in spans:
        data[start : start + size] = bytes(size)
    path.write_bytes(bytes(data))
    with pytest.raises(InputError) as error:
        open_source(path)
    assert "no frame that decodes" in one_line(error, path)


def test_probe_reads_the_header(tmp_path: Path) -> None:
    probe = probe_video(steady_clip(tmp_path / "name:with colon.mp4", 50))
    assert (probe.width, probe.height, probe.rate, probe.codec) == (192, 96, 25, "h264")
    assert probe.duration == pytest.approx(2.0)
    assert not probe.has_sound and not probe.is_photo
