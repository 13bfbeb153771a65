"""Errors for files that cannot be used as video or audio."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import make_wave, steady_clip
from retalkit.errors import InputError
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source


@pytest.fixture
def bad_files(tmp_path: Path) -> dict[str, Path]:
    files = {
        name: tmp_path / name for name in ("missing.mp4", "folder", "empty.mp4", "text.txt", "half.mp4", "cut.png")
    }
    files["folder"].mkdir()
    files["empty.mp4"].touch()
    files["text.txt"].write_text("This is plain text.\n" * 50)
    whole = steady_clip(tmp_path / "whole.mp4", 30)
    files["half.mp4"].write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    files["cut.png"].write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    files["sound.wav"] = make_wave(tmp_path / "sound.wav", np.zeros(8000), 8000)
    files["silent.mp4"] = whole
    return files


def check_message(error: pytest.ExceptionInfo[InputError], path: Path, code: str, fact: str = "") -> None:
    text = str(error.value)
    assert "\n" not in text and path.name in text and fact in text
    assert error.value.code == code


@pytest.mark.parametrize(
    ("name", "code", "fact"),
    [
        ("missing.mp4", "file-not-found", ""),
        ("folder", "path-is-directory", ""),
        ("empty.mp4", "empty-file", "0 bytes"),
        ("text.txt", "unreadable-media", "text"),
        ("half.mp4", "truncated-file", "moov"),
        ("sound.wav", "no-video-stream", "SPEECH"),
    ],
)
def test_unusable_video(bad_files: dict[str, Path], name: str, code: str, fact: str) -> None:
    with pytest.raises(InputError) as error:
        open_source(bad_files[name])
    check_message(error, bad_files[name], code, fact)


def test_broken_photo(bad_files: dict[str, Path]) -> None:
    with pytest.raises(InputError) as error:
        open_source(bad_files["cut.png"])
    check_message(error, bad_files["cut.png"], "unreadable-image", "PNG or JPEG")


@pytest.mark.parametrize(
    ("name", "code", "fact"),
    [
        ("missing.mp4", "file-not-found", ""),
        ("folder", "path-is-directory", ""),
        ("empty.mp4", "empty-file", "0 bytes"),
        ("text.txt", "unreadable-media", "text"),
        ("half.mp4", "truncated-file", "moov"),
        ("silent.mp4", "no-audio-stream", "SPEECH"),
    ],
)
def test_unusable_audio(bad_files: dict[str, Path], name: str, code: str, fact: str) -> None:
    with pytest.raises(InputError) as error:
        open_sound(bad_files[name])
    check_message(error, bad_files[name], code, fact)


def test_wav_without_samples(tmp_path: Path) -> None:
    path = make_wave(tmp_path / "nothing.wav", np.zeros(0), 16000)
    with pytest.raises(InputError) as error:
        open_sound(path)
    check_message(error, path, "empty-audio", "empty")


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
    check_message(error, path, "undecodable-video", "no frame")


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
def test_playlist_that_names_other_files(tmp_path: Path, name: str) -> None:
    secret = tmp_path / "other" / "secret.ts"
    secret.parent.mkdir()
    with av.open(steady_clip(tmp_path / "clip.mp4", 5)) as clip, av.open(secret, "w") as segment:
        stream = segment.add_stream_from_template(clip.streams.video[0])
        for packet in clip.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                segment.mux(packet)
    playlist = tmp_path / name
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret.as_uri()}\n#EXT-X-ENDLIST\n")
    assert open_source(secret).info.frame_count == 5
    for read in (open_source, open_sound):
        with pytest.raises(InputError) as error:
            read(playlist)
        check_message(error, playlist, "playlist-file")


def test_file_name_with_a_colon(tmp_path: Path) -> None:
    assert open_source(steady_clip(tmp_path / "name:with colon.mp4", 50)).info.frame_count == 50
