"""A home, a web server that may fail, and a checkpoint that lies there."""

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
from retalkit.weights.download import Patience
from retalkit.weights.locks import LOCKS
from retalkit.weights.pull import pull
from retalkit.weights.store import WeightStore

from tests.core.weights import file_server as web

HURRIED = Patience(stall_seconds=0.3, attempts=3, first_wait=0.01)


class Listener(SilentObserver):
    """Keeps what a user would read."""

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
class Place:
    """A home, a server, and a checkpoint that lies there."""

    home: Path
    server: web.FileServer
    store: WeightStore
    tiny: Checkpoint
    listener: Listener = field(default_factory=Listener)

    def pull(self, accept: bool = False, **changes: Any) -> Path:
        return pull(replace(self.tiny, **changes), self.store, self.listener, accept=accept, patience=HURRIED)

    def refused(self, **changes: Any) -> str:
        """The one line of a pull that fails."""
        with pytest.raises(WeightsError) as error:
            self.pull(**changes)
        assert "\n" not in str(error.value)
        return str(error.value)

    def left(self) -> set[str]:
        """Every file below the home but the empty ones that keep processes apart."""
        files = {path.relative_to(self.home) for path in self.home.rglob("*") if path.is_file()}
        return {str(path) for path in files if path.parts[0] != LOCKS}

    def cut_once(self) -> None:
        """Leaves half of the file on disk, as a user's Ctrl-C would."""
        self.server.answers = [web.cut(HALF), web.fails(404)]
        self.refused()
        self.server.ranges.clear()
        assert "downloads/Tiny.pth.part" in self.left()


KEPT = {"weights/tiny.safetensors", "weights/tiny.json"}
HALF_KEPT = {"downloads/Tiny.pth.part", "downloads/Tiny.pth.part.json"}
