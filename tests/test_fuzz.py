"""A few files for every fuzz target. ``make fuzz`` reads more files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.__main__ import run_target
from tests.fuzz.targets import TARGETS, check

TEXT = {
    "cues.srt": b"9" * 5000 + b":00:01,000 --> 00:00:02,000\nANNA: hello\n",
    "cues.yaml": b"cues:\n  - {from: " + b"9" * 400 + b", to: 2, speech: s.wav}\n",
}
"""Files that were faults once."""


@pytest.mark.parametrize("target", list(TARGETS))
def test_damaged_files_raise_user_errors(target: str) -> None:
    run_target(target, 1, 8)


@pytest.mark.parametrize("name", list(TEXT))
def test_known_faults(name: str, tmp_path: Path) -> None:
    check("cues", (name, TEXT[name]), tmp_path)
