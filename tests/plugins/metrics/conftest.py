"""Scenes from real clips, tracked once per session."""

from __future__ import annotations

from pathlib import Path

import pytest
from retalkit.metrics.scene import Scene

from tests.plugins.metrics.scenes import Tracker


@pytest.fixture(scope="session")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Tracker(tmp_path_factory.mktemp("tracked"))


@pytest.fixture(scope="session")
def talking(tracker: Tracker, shared_media: Path) -> Scene:
    """A woman speaking for five seconds (590 x 590, 25 frames/s), compared with herself."""
    return tracker.unedited(shared_media / "talk_woman_590p25.mp4")


@pytest.fixture(scope="session")
def moment(tracker: Tracker, shared_media: Path) -> Scene:
    """Sixteen frames of the same clip."""
    return tracker.unedited(shared_media / "talk_woman_590p25.mp4", 20, 16)
