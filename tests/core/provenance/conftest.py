"""A clip and a home of their own for the tests of Content Credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.provenance.signing_samples import sign_clip, write_clip


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("provenance") / "clip.mp4")


@pytest.fixture(scope="session")
def signed(clip: Path, short_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip, signed with the local credentials that the signature creates."""
    return sign_clip(clip, tmp_path_factory.mktemp("signed") / "signed.mp4", clip, short_speech)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty RETALKIT_HOME."""
    monkeypatch.setenv("RETALKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
