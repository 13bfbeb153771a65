"""States of training runs, and their comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from retalkit_training.loop.checkpoints import CheckpointFolder, read_state


class KilledError(Exception):
    """Raised in place of a kill signal."""


def newest_state(folder: Path) -> dict[str, Any]:
    """Return the newest checkpoint of a run."""
    newest = CheckpointFolder(folder / "checkpoints", 1).newest
    assert newest is not None
    return read_state(newest)


def assert_equal(one: Any, other: Any, where: str = "") -> None:
    """Compare nested states bit by bit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{where}/{index}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    else:
        assert one == other, where
