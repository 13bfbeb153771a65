"""Specs of the metrics without a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retalkit.metrics import LANDMARKS
from retalkit.metrics.scene import Scene, scored_frames
from retalkit.plugins.availability import metric_availability
from retalkit.plugins.discovery import discover
from retalkit_metrics.cost import cost_scores
from retalkit_metrics.interface import METRICS

from tests.conftest import REPOSITORY
from tests.plugins.metrics.scenes import Frames

NAMES = {"face", "lips", "quiet_mouth", "pixels", "sharpness", "steadiness", "cost"}


def test_metrics_are_registered_and_available() -> None:
    registry = discover()
    assert [problem.reason for problem in registry.problems if "metric" in problem.owner] == []
    found = {metric.spec.name: metric for metric in registry.metrics}
    assert set(found) >= NAMES
    assert all(metric_availability(found[name]) is None for name in NAMES)


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
def test_measures_are_described(spec) -> None:
    assert spec.source and spec.summary.endswith(".")
    assert spec.needs
    for measure in spec.measures:
        assert measure.summary.endswith("."), measure.name
        assert measure.low < measure.high
        assert measure.ideal is None or measure.low <= measure.ideal <= measure.high


def test_metrics_of_the_tracked_face_need_landmarks() -> None:
    assert all(LANDMARKS in spec.needs for spec in METRICS if spec.name in ("lips", "quiet_mouth", "sharpness"))


def test_cost_returns_every_measure() -> None:
    spec = next(spec for spec in METRICS if spec.name == "cost")
    assert set(cost_scores({})) == {measure.name for measure in spec.measures}


def test_measures_are_documented() -> None:
    text = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    missing = [measure.name for spec in METRICS for measure in spec.measures if f"`{measure.name}`" not in text]
    assert missing == []


def test_documented_example_metric_works(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    block = re.search(r"^```python[^\n]*\n(.*?)^```", text, re.M | re.S)
    assert block is not None
    plugin = tmp_path / "brightness.py"
    plugin.write_text(block.group(1), encoding="utf-8")
    spec: Any = discover([plugin]).metric("brightness").spec
    frames = Frames([np.full((8, 8, 3), level, np.uint8) for level in (100, 140)])
    scene = Scene(video=Path("synthetic.mp4"), source=frames)
    session = spec.make().open(scene)
    for frame in scored_frames(scene):
        session.add(frame)
    assert session.result() == {"brightness": 120}
