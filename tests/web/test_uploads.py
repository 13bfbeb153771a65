"""Uploads: limits, and files that are made to harm the server."""

from __future__ import annotations

import asyncio
import errno
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import pytest
from retalkit_web.probe import examine
from retalkit_web.sessions import SessionStore
from retalkit_web.settings import ServerSettings, WebError
from retalkit_web.uploads import Uploads
from scipy.io import wavfile


def png_header(width: int, height: int) -> bytes:
    """Return a small PNG file that claims to be an enormous image."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 10000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(50_000, 50_000), (7000, 7000)])
def test_an_image_bomb_is_rejected_before_it_is_decoded(tmp_path: Path, size: tuple[int, int]) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_header(*size))
    with pytest.raises(WebError) as error:
        examine(bomb, "video", 60)
    assert error.value.code == "file-too-large"


def test_a_long_sound_is_rejected(tmp_path: Path) -> None:
    import numpy as np

    wavfile.write(tmp_path / "long.wav", 8000, np.zeros(8000 * 61, np.int16))
    with pytest.raises(WebError) as error:
        examine(tmp_path / "long.wav", "sound", 60)
    assert error.value.code == "file-too-long"
    assert examine(tmp_path / "long.wav", "sound", 62)["seconds"] == pytest.approx(61)


def test_uploads_within_the_limits_only(tmp_path: Path) -> None:
    settings = ServerSettings(folder=tmp_path, upload_bytes=1000)
    _, session = SessionStore(settings).create()

    async def body(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 100):
            yield b"word " * 20

    def send(kind: str, name: str, size: int, length: int | None) -> str:
        async def receive() -> str:
            return (await Uploads(settings).receive(session, kind, name, length, body(size))).name

        return asyncio.run(receive())

    for length in (5000, None, 10):
        # The announced length may be missing or wrong.
        with pytest.raises(WebError) as error:
            send("transcript", "words.txt", 5000, length)
        assert error.value.code == "file-too-large"
    for kind, name, size, code in (
        ("program", "x.exe", 100, "invalid-request"),
        ("transcript", "words.txt", 0, "empty-file"),
        ("transcript", "words.pdf", 100, "unsupported-file"),
    ):
        with pytest.raises(WebError) as error:
            send(kind, name, size, None)
        assert error.value.code == code
    assert not session.files()
    assert list((session.folder / "files").iterdir()) == []
    assert send("transcript", "../words.txt", 500, 500) == "words.txt"
    assert [file.bytes for file in session.files()] == [500]


def test_concurrent_uploads_share_the_room_of_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SessionStore(ServerSettings(folder=tmp_path, keep_hours=-1.0))
    _, session = store.create()
    assert store.expired() == [session]
    with session.reserve(600, 1000):
        assert store.expired() == []
        with pytest.raises(WebError) as error, session.reserve(600, 1000):
            pass
        assert error.value.code == "session-full"
    monkeypatch.setattr("retalkit_web.sessions.shutil.disk_usage", lambda folder: Mock(free=1_000_000_500))
    with session.reserve(400, 1000):
        pass
    with pytest.raises(WebError) as error, session.reserve(600, 1000):
        pass
    assert error.value.code == "disk-full"


def test_a_full_disk_leaves_no_partial_file_and_shows_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServerSettings(folder=tmp_path)
    _, session = SessionStore(settings).create()

    async def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr("retalkit_web.uploads._store", full)
    with pytest.raises(WebError) as error:
        asyncio.run(Uploads(settings).receive(session, "transcript", "a.txt", 5, AsyncMock()))
    assert error.value.code == "disk-full"
    assert str(tmp_path) not in str(error.value)
    assert list((session.folder / "files").iterdir()) == []
