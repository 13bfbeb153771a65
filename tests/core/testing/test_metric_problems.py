"""The kit reports violations of the metric contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retalkit.metrics import FRAMES, Measure, MetricSpec
from retalkit.testing import check_metric, check_names

KEPT: list[Any] = []


class Brightness:
    """Mean grey level, as a fraction."""

    def open(self, scene: Any) -> Any:
        return self

    def __init__(self) -> None:
        self.seen: list[float] = []

    def add(self, frame: Any) -> None:
        self.seen.append(float(frame.image.mean()) / 255)

    def result(self) -> Any:
        seen, self.seen = self.seen, []
        return {"brightness": float(np.mean(seen))}


def spec(metric: type[Brightness] = Brightness, **changes: Any) -> MetricSpec:
    measure = Measure("brightness", "brightness", "higher", low=0.0, high=1.0, summary="How bright it is.")
    made = MetricSpec("toy", "A metric for tests.", (measure,), metric, "none", needs=frozenset({FRAMES}))
    return replace(made, **changes)


def faulty(**members: Any) -> type[Brightness]:
    return type("Faulty", (Brightness,), members)


def test_valid_metric_passes(tmp_path: Path) -> None:
    report = check_metric(spec(), folder=tmp_path)
    assert report.ok and set(report.passed) == set(check_names(spec())), str(report)


@pytest.mark.parametrize(
    ("members", "check", "expected"),
    [
        ({"result": lambda self: {"brightness": 7.0}}, "scene", "brightness is 7, expected a value in [0, 1]"),
        ({"result": lambda self: {}}, "scene", "brightness has type NoneType"),
        ({"result": lambda self: {"brightness": 0.5, "more": 1.0}}, "scene", "'more', which is not a measure"),
        ({"result": lambda self: {"brightness": np.random.default_rng().random()}}, "scene", "changes from"),
        ({"result": lambda self: 1.0}, "scene", "result() returned float"),
        ({"add": lambda self, frame: frame.image.fill(0)}, "inputs", "add() modified its input: image"),
        ({"open": lambda self, scene: [self, scene.lips.opening][0]}, "only_needs", "AttributeError"),
        ({"open": lambda self, scene: [self, 1 / (scene.source.info.frame_count - 1)][0]}, "one_frame", "ZeroDivision"),
        ({"add": lambda self, frame: frame.image[:, 200].mean()}, "odd_size", "frame 0, in 167 x 121-pixel frames"),
        ({"add": lambda self, frame: frame.image[1].mean()}, "one_pixel", "in 1 x 1-pixel frames"),
        ({"add": lambda self, frame: KEPT.append(frame.image.copy())}, "memory", "memory grows by"),
        ({"result": None}, "scene", "has no method result()"),
    ],
)
def test_invalid_metrics_are_reported(members: dict[str, Any], check: str, expected: str, tmp_path: Path) -> None:
    report = check_metric(spec(faulty(**members)), folder=tmp_path)
    KEPT.clear()
    found = " | ".join(problem.broken for problem in report.problems if problem.check == check)
    assert expected in found, str(report)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": ""}, "the source is empty"),
        ({"needs": frozenset({"frame"})}, "unknown port 'frame'"),
        ({"measures": ()}, "has no measures"),
        ({"measures": (Measure("a", "a", "nearer", summary="a"),)}, "has no ideal value"),
    ],
)
def test_invalid_specs_are_reported(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    report = check_metric(spec(**changes), folder=tmp_path)
    assert expected in str(report)


def test_incompatible_contract_version_is_not_built(tmp_path: Path) -> None:
    report = check_metric(spec(build=lambda: 1 / 0, api=7), folder=tmp_path)
    assert "made for version 7" in report.unavailable and "ZeroDivision" not in str(report)


def test_wrong_types_in_a_spec_are_reported(tmp_path: Path) -> None:
    assert "needs is ['frames'] (list)" in str(check_metric(spec(needs=["frames"]), folder=tmp_path))


def test_unavailable_metric_is_not_ok(tmp_path: Path) -> None:
    report = check_metric(spec(requires=("no_such_package",)), folder=tmp_path)
    assert not report.ok and "no_such_package" in report.unavailable
