"""A Retalkit home folder, a local HTTP server that can misbehave, and a checkpoint that it serves."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from retalkit.errors import WeightsError
from retalkit.observer import SilentObserver
from retalkit.weights.checkpoint import Checkpoint
from retalkit.weights.download import RetryPolicy
from retalkit.weights.locks import LOCKS
from retalkit.weights.pull import pull
from retalkit.weights.store import WeightStore

from tests.core.weights import file_server as web

FAST_RETRY = RetryPolicy(stall_seconds=0.3, attempts=3, first_wait=0.01)


class RecordingObserver(SilentObserver):
    """Records notes and steps."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[tuple[str, int | None]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def started(self, step: str, total: int | None) -> None:
        self.steps.append((step, total))


def published(bias: float = 7.0) -> bytes:
    buffer = io.BytesIO()
    torch.save({"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.tensor([bias, 8.0])}, buffer)
    return buffer.getvalue()


CONTENT = published()
OTHER = published(9.0)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


@dataclass
class PullSetup:
    """A home folder, a server, and a checkpoint that it serves."""

    home: Path
    server: web.FileServer
    store: WeightStore
    tiny: Checkpoint
    observer: RecordingObserver = field(default_factory=RecordingObserver)

    def pull(self, accept: bool = False, **changes: Any) -> Path:
        return pull(replace(self.tiny, **changes), self.store, self.observer, accept=accept, retry=FAST_RETRY)

    def pull_error(self, code: str, **changes: Any) -> str:
        """Return the one-line message of a pull that must fail with that error code."""
        with pytest.raises(WeightsError) as error:
            self.pull(**changes)
        assert error.value.code == code, error.value
        assert "\n" not in str(error.value)
        return str(error.value)

    def files(self) -> set[str]:
        """Return every file in the home folder except the empty lock files."""
        files = {path.relative_to(self.home) for path in self.home.rglob("*") if path.is_file()}
        return {str(path) for path in files if path.parts[0] != LOCKS}

    def interrupt_pull(self) -> None:
        """Leave half of the file on disk, as Ctrl-C does."""
        self.server.responses = [web.cut(HALF), web.fail(404)]
        self.pull_error("http-error")
        self.server.ranges.clear()
        assert "downloads/Tiny.pth.part" in self.files()


INSTALLED = {"weights/tiny.safetensors", "weights/tiny.json"}
PARTIAL = {"downloads/Tiny.pth.part", "downloads/Tiny.pth.part.json"}
