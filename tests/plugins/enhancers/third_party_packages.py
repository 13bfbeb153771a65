"""Helpers for tests of stages that run third-party packages: no downloads, no files left."""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from retalkit.plugins.availability import availability
from retalkit.plugins.discovery import discover
from retalkit.stages import StageKind


def unavailable(name: str, hidden: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return why an enhancer cannot run where some packages are missing."""

    def found(package: str) -> object:
        return None if package in hidden else find_spec("sys")

    monkeypatch.setattr("retalkit.plugins.availability.find_spec", found)
    return availability(discover().find(StageKind.ENHANCER, name)) or ""


def aligned_face() -> np.ndarray:
    """Return RGB uint8 [1, 512, 512, 3]: a roughly aligned face."""
    data: Any = pytest.importorskip("skimage.data")
    return cv2.resize(data.astronaut()[:256, 96:352], (512, 512)).astype(np.uint8)[None]


@contextmanager
def isolated(folder: Path, monkeypatch: pytest.MonkeyPatch, *packages: str) -> Iterator[None]:
    """Run the block in an empty ``folder`` without network access; fail if it creates a file there or in a package."""

    def refused(*_: object) -> None:
        raise AssertionError("network access")

    folder.mkdir()
    before = _files(*packages)
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(socket.socket, "connect", refused)
        patch.setattr(socket, "getaddrinfo", refused)
        yield
        assert Path.cwd() == folder
    assert list(folder.iterdir()) == []
    assert _files(*packages) == before


def _files(*packages: str) -> set[Path]:
    folders = [Path(place) for package in packages for place in find_spec(package).submodule_search_locations]  # type: ignore[union-attr]
    return {path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts}


@contextmanager
def fake_packages(folder: Path, *names: str, **sources: str) -> Iterator[None]:
    """Replace the packages ``names`` with those in ``folder`` inside the block.

    ``sources``: source of the module ``a.b.c`` as ``a__b__c``.
    """
    for name, source in sources.items():
        file = folder.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")

    def theirs() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] in names]

    kept = {name: sys.modules.pop(name) for name in theirs()}
    for name in names:
        for place in (folder / name, *(path for path in (folder / name).rglob("*") if path.is_dir())):
            place.mkdir(exist_ok=True)
            (place / "__init__.py").touch()
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in theirs():
            del sys.modules[name]
        sys.modules.update(kept)
        importlib.invalidate_caches()
