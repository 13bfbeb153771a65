"""Fixtures for tests of checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from retalkit.weights.checkpoint import Checkpoint
from retalkit.weights.store import WeightStore

from tests.core.weights import file_server as web


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A ``pull_setup.PullSetup`` without proxies, mirrors or offline mode in the environment."""
    pytest.importorskip("torch", reason="checkpoints are read by torch: pip install 'retalkit[paper]'")
    from tests.core.weights.pull_setup import CONTENT, SHA256, PullSetup

    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "retalkit_mirrors", "retalkit_offline"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("RETALKIT_HOME", str(tmp_path / "home"))
    with web.serving(CONTENT) as server:
        tiny = Checkpoint(
            name="tiny",
            summary="for a test",
            file="Tiny.pth",
            urls=(f"{server.address}/Tiny.pth",),
            licence="MIT",
            commercial_use=None,
            shapes="tests.core.weights.tiny_network:shapes",
            size=len(CONTENT),
            sha256=SHA256,
        )
        yield PullSetup(tmp_path / "home", server, WeightStore(), tiny)
