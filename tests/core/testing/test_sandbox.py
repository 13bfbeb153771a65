"""File writes that the sandbox of the testing kit reports."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from retalkit.testing.isolation.sandbox import Sandbox


def test_bytecode_below_the_prefix_is_not_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix, other = tmp_path / "prefix", tmp_path / "other"
    monkeypatch.setattr(sys, "pycache_prefix", str(prefix))
    sandbox = Sandbox([], tmp_path / "elsewhere")
    with sandbox.active():
        for folder in (prefix, other):
            folder.mkdir()
            # The import system renames such a file after it is complete.
            (folder / "module.cpython-311.pyc.139621737648304").write_bytes(b"")
    assert sandbox.writes == [str(other), str(other / "module.cpython-311.pyc.139621737648304")]
