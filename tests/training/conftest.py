"""Fixtures of the training tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def references(shared_parity_training: Path) -> Callable[[str], Any]:
    """Name of a file in the folder ``parity_training`` -> its reference numbers."""
    pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
    from tests.training.references import References

    return lambda name: References(shared_parity_training, name)
