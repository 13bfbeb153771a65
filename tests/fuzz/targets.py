"""Fuzz targets: readers of user files, and strategies for damaged files.

A reader may raise RetalkitError. Every other exception is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st
from retalkit.batch.jobs import Common, build_jobs
from retalkit.batch.jobs_file import read_jobs
from retalkit.config.model import load
from retalkit.cues.faults import Faults
from retalkit.cues.sheet_file import read_sheet
from retalkit.cues.validation import check_cues
from retalkit.errors import RetalkitError
from retalkit.media.kept_streams import other_content, plan_kept_streams
from retalkit.media.motion_files import read_motion
from retalkit.media.sound import has_sound, open_sound
from retalkit.media.sources import open_source
from retalkit.persons.selectors import PersonSelector
from retalkit.plugins.discovery import discover
from scipy.io import wavfile

from tests.fuzz import seeds

_FRAMES: Final = 40
_CHUNKS: Final = 40
WORDS: Final = (
    *(b"\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00"),
    *(b"9" * 5000, b"9" * 400, b"1e999", b"nan", b"-1", b"\n", b": ", b"- ", b"-->", b"'", b'"', b"~"),
    *(b"\xef\xbb\xbf", b"\xed\xb3\xa9", b"*a", b"&a [*a]", b"{" * 2000, b"[" * 2000, b"!!python/object:os.system"),
    *(b"%d{x}", b"{0.__class__}", b"../" * 9, b"https://x/y", b"\x1b[31m", "\u2028\u0661".encode()),
    *(b'"\\udce9"', b'"\\x00"', b"2026-13-45", b"0x10", b"1_0", b".inf", b"null", b"<<: *a"),
)
"""Byte sequences that often reveal faults."""

_SPEAKERS: Final = {".srt": ("ANNA", "BEN"), ".vtt": ("Anna", "Ben"), ".rttm": ("anna", "ben")}
"""Mapping from suffix to the persons that the seed names."""
Content = tuple[str, bytes]


@st.composite
def altered(draw: Any, files: Callable[[], Mapping[str, bytes]]) -> Content:
    """Name and content of one of ``files`` after up to eight changes."""
    content = files()
    name = draw(st.sampled_from(sorted(content)))
    data = bytearray(content[name])
    for _ in range(draw(st.integers(0, 8))):
        change = draw(st.sampled_from(["flip", "insert", "delete", "copy", "truncate", "set"]))
        place = draw(st.integers(0, len(data)))
        length = draw(st.integers(1, 64))
        if change == "flip" and place < len(data):
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif change == "insert":
            data[place:place] = draw(st.one_of(st.sampled_from(WORDS), st.binary(max_size=32)))
        elif change == "delete":
            del data[place : place + length]
        elif change == "copy":
            data[place:place] = data[place : place + length]
        elif change == "truncate":
            del data[place:]
        elif change == "set":
            word = draw(st.sampled_from(WORDS[:4]))
            data[place : place + len(word)] = word
    return name, bytes(data)


@cache
def _registry() -> Any:
    return discover()


@cache
def _media() -> dict[str, bytes]:
    return seeds.videos()


@cache
def _images() -> dict[str, bytes]:
    return seeds.images()


@cache
def _sounds() -> dict[str, bytes]:
    return {**seeds.sounds(), **{name: data for name, data in _media().items() if "mp4" in name or "mkv" in name}}


@cache
def _motions() -> dict[str, bytes]:
    return seeds.motions()


def _read_source(path: Path) -> None:
    source = open_source(path)
    try:
        count = source.info.frame_count
        source.times(0, min(count, 1000))
        wanted = [*range(min(count, _FRAMES)), *range(min(count, _FRAMES) - 1, -1, -3)]
        for _ in source.read(wanted):
            pass
    finally:
        source.close()
    if has_sound(path):
        _read_sound(path)
    other_content(path, None)
    plan_kept_streams(path, path.with_name("out.mkv"), source.start_time, None)


def _read_image(path: Path) -> None:
    source = open_source(path)
    for _ in source.read(range(min(source.info.frame_count, _FRAMES))):
        pass
    source.close()


def _read_sound(path: Path) -> None:
    sound = open_sound(path)
    for _ in islice(sound.chunks(16000), _CHUNKS):
        pass
    for _ in islice(sound.native_chunks(sound.rate), _CHUNKS):
        pass


def _read_cues(path: Path) -> None:
    speech = path.with_name("s.wav")
    if not speech.exists():
        wavfile.write(speech, 8000, np.zeros(8000 * 6, np.int16))
    bindings = {name: PersonSelector("left") for name in _SPEAKERS.get(path.suffix, ())}
    check_cues(read_sheet(path, speech, bindings), 10.0)


def _read_run(path: Path) -> None:
    load(_registry(), file=path)


def _read_jobs(path: Path) -> None:
    path.with_name("a.mp4").touch()
    faults = Faults()
    jobs = read_jobs(path, faults)
    common = Common(folder=path.parent, config=None, preset=None, overrides=[])
    build_jobs(jobs.rows, common, _registry(), faults)
    faults.check()


def _read_motion(path: Path) -> None:
    read_motion(path)


TARGETS: Final[dict[str, tuple[Callable[[], Mapping[str, bytes]], Callable[[Path], None]]]] = {
    "video": (_media, _read_source),
    "image": (_images, _read_image),
    "sound": (_sounds, _read_sound),
    "cues": (lambda: seeds.CUES, _read_cues),
    "run": (lambda: seeds.RUNS, _read_run),
    "jobs": (lambda: seeds.JOBS, _read_jobs),
    "motion": (_motions, _read_motion),
}
"""Mapping from target to its valid files and its reader."""


def check(target: str, content: Content, folder: Path) -> None:
    """Read a file. Raises an exception if the reader has a fault."""
    name, data = content
    path = folder / name
    path.write_bytes(data)
    try:
        TARGETS[target][1](path)
    except RetalkitError as error:
        message = str(error)
        message.encode()
        assert message and error.code
    finally:
        path.unlink(missing_ok=True)
