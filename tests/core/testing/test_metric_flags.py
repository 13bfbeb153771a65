"""The kit finds what is broken in a metric."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retalkit.metrics import FRAMES, Measure, MetricSpec
from retalkit.testing import check_metric

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
    made = MetricSpec("toy", "A toy for a test.", (measure,), metric, "nobody", needs=frozenset({FRAMES}))
    return replace(made, **changes)


def broken(**members: Any) -> type[Brightness]:
    return type("Broken", (Brightness,), members)


def test_a_good_metric_passes(tmp_path: Path) -> None:
    report = check_metric(spec(), folder=tmp_path)
    odd = {"one_frame", "odd_size", "one_pixel", "no_face", "memory"}
    assert report.ok and {"scene", "needed_alone", *odd} <= set(report.passed), str(report)


@pytest.mark.parametrize(
    ("members", "check", "expected"),
    [
        ({"result": lambda self: {"brightness": 7.0}}, "scene", "brightness is 7, not within [0, 1]"),
        ({"result": lambda self: {}}, "scene", "brightness is NoneType"),
        ({"result": lambda self: {"brightness": 0.5, "more": 1.0}}, "scene", "'more', which is no measure"),
        ({"result": lambda self: {"brightness": np.random.default_rng().random()}}, "scene", "the other time"),
        ({"result": lambda self: 1.0}, "scene", "result() gave float"),
        ({"add": lambda self, frame: frame.image.fill(0)}, "inputs", "add() changed image of its input"),
        ({"open": lambda self, scene: [self, scene.lips.opening][0]}, "needed_alone", "AttributeError"),
        ({"open": lambda self, scene: [self, 1 / (scene.source.info.frame_count - 1)][0]}, "one_frame", "ZeroDivision"),
        ({"add": lambda self, frame: frame.image[:, 200].mean()}, "odd_size", "frame 0, in frames of 167 x 121"),
        ({"add": lambda self, frame: frame.image[1].mean()}, "one_pixel", "in frames of 1 x 1 pixel"),
        ({"add": lambda self, frame: KEPT.append(frame.image.copy())}, "memory", "kB more for each further frame"),
        ({"result": None}, "scene", "has no result()"),
    ],
)
def test_a_broken_metric_is_found(members: dict[str, Any], check: str, expected: str, tmp_path: Path) -> None:
    report = check_metric(spec(broken(**members)), folder=tmp_path)
    KEPT.clear()
    found = " | ".join(problem.broken for problem in report.problems if problem.check == check)
    assert expected in found, str(report)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": ""}, "the source is empty"),
        ({"needs": frozenset({"frame"})}, "needs 'frame'"),
        ({"measures": ()}, "has no measures"),
        ({"measures": (Measure("a", "a", "nearer", summary="a"),)}, "is best near nothing"),
    ],
)
def test_a_wrong_spec_is_found(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    report = check_metric(spec(**changes), folder=tmp_path)
    assert expected in str(report)


def test_a_metric_of_another_version_is_not_built(tmp_path: Path) -> None:
    report = check_metric(spec(build=lambda: 1 / 0, api=7), folder=tmp_path)
    assert "made for version 7" in report.unavailable and "ZeroDivision" not in str(report)


def test_a_spec_that_cannot_be_read_is_told_in_words(tmp_path: Path) -> None:
    assert "needs is ['frames'] (list)" in str(check_metric(spec(needs=["frames"]), folder=tmp_path))


def test_a_metric_that_cannot_run_is_never_ok(tmp_path: Path) -> None:
    report = check_metric(spec(requires=("no_such_package",)), folder=tmp_path)
    assert not report.ok and "no_such_package" in report.unavailable
