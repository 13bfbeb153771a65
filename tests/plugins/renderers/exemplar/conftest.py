"""Shared clips for the tests of the lip syncer."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from exemplar_clips import TalkingClip, talking_clip


@pytest.fixture(scope="session")
def talking(portrait: Any) -> TalkingClip:
    """48 frames of a swaying head whose mouth opens and closes three times."""
    return talking_clip(portrait)


@pytest.fixture
def still(talking: TalkingClip) -> TalkingClip:
    """The same head with a mouth that never opens."""
    closed = int(talking.opening().argmin())
    images = [talking.images[closed]] * 20
    points = np.repeat(talking.points[closed : closed + 1], 20, axis=0)
    return replace(talking, images=images, points=points, numbers=np.zeros(20, np.int32), reads=[])
