"""A few files for every fuzz target. ``make fuzz`` reads more files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import seeds
from tests.fuzz.__main__ import run_target
from tests.fuzz.targets import TARGETS, check


def known_faults() -> dict[str, tuple[str, bytes]]:
    """Return files that were faults once, as a mapping from file name to target and content."""
    videos, sounds, image = seeds.videos(), seeds.sounds(), seeds.images()["rotated.jpeg"]
    return {
        "cues.srt": ("cues", b"9" * 5000 + b":00:01,000 --> 00:00:02,000\nANNA: hello\n"),
        "cues.yaml": ("cues", b"cues:\n  - {from: " + b"9" * 400 + b", to: 2, speech: s.wav}\n"),
        # Streams without a decoder.
        "video.mp4": ("video", videos["video.mp4"].replace(b"avc1", b"zzzz")),
        "sound.mp4": ("video", videos["video.mp4"].replace(b"mp4a", b"zzzz").replace(b"esds", b"free")),
        "only_sound.mp4": ("sound", sounds["sound.mp4"].replace(b"mp4a", b"zzzz").replace(b"esds", b"free")),
        # FFmpeg attaches EXIF data to the frame, which PyAV does not know.
        "rotated.mjpeg": ("image", b"\xfe" + image[1:]),
    }


@pytest.mark.parametrize("target", list(TARGETS))
def test_damaged_files_raise_user_errors(target: str) -> None:
    run_target(target, 1, 8)


def test_known_faults(tmp_path: Path) -> None:
    for name, (target, data) in known_faults().items():
        check(target, (name, data), tmp_path)
