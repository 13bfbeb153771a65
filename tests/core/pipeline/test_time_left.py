"""Estimate of the time left in a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.observer import SilentObserver
from retalkit.pipeline.time_left import ExpectedStep, StepHistory, TimeLeftObserver

STEPS = {
    "speech": (20, 8.0),
    "faces": (500, 25.0),
    "coefficients": (500, 3.0),
    "lips": (500, 10.0),
    "render": (500, 40.0),
}
"""Units and true seconds of each step."""


class Receiver(SilentObserver):
    def __init__(self, clock) -> None:
        self.clock, self.reports = clock, []

    def time_left(self, seconds: float, fraction: float) -> None:
        self.reports.append((self.clock(), seconds, fraction))


def simulate(history: StepHistory, slowness: float = 1.0, cached: tuple[str, ...] = ()) -> np.ndarray:
    """Run the steps with a simulated clock. Return [reports, (time, seconds left, fraction)]."""
    now = [100.0]
    receiver = Receiver(lambda: now[0])
    observer = TimeLeftObserver(receiver, history, clock=lambda: now[0])
    observer.expect(
        [ExpectedStep(name=name, units=units, key="default") for name, (units, _) in STEPS.items()], ["speech"]
    )
    for name, (units, seconds) in STEPS.items():
        if name == "speech":
            continue
        observer.started(name, None if name == "lips" else units)
        if name in cached:
            observer.finished(name, 0.0, True)
            continue
        begin, duration = now[0], seconds * slowness
        if name == "faces":
            observer.started("speech", STEPS["speech"][0])
        for unit in range(1, units + 1):
            now[0] = begin + duration * (0.05 + 0.95 * unit / units)
            if name != "lips":
                observer.advanced(name, unit)
            if name == "faces" and unit == units // 3:
                observer.finished("speech", now[0] - begin, False)
        now[0] = begin + duration
        observer.finished(name, duration, False)
    observer.complete()
    return np.array(receiver.reports)


def test_second_run_knows_the_time_and_does_not_jump(tmp_path: Path) -> None:
    simulate(StepHistory(tmp_path / "times.json"))
    reports = simulate(StepHistory(tmp_path / "times.json"))
    times, left, fractions = reports.T
    truth = times[-1] - times
    assert np.abs(left - truth).max() < 0.05 * truth[0] + 1
    # The displayed time never rises by more than a second.
    assert np.diff(left).max() < 1.0
    assert np.all(np.diff(fractions) > -0.01) and fractions[-1] == pytest.approx(1.0, abs=0.01)


def test_first_run_and_a_slower_machine_converge_smoothly(tmp_path: Path) -> None:
    simulate(StepHistory(tmp_path / "times.json"))
    for history, slowness in ((StepHistory(tmp_path / "none.json"), 1.0), (StepHistory(tmp_path / "times.json"), 3.0)):
        times, left, _ = simulate(history, slowness).T
        truth = times[-1] - times
        late = times > times[0] + 0.6 * truth[0]
        assert np.abs(left - truth)[late].max() < 0.15 * truth[0]
        steps = np.diff(left) / np.maximum(np.diff(times), 0.05)
        # The estimate may grow while it is corrected, but by less than a tenth of the total in a second.
        assert steps.max() < 0.1 * truth[0]


def test_cached_steps_are_not_counted_and_damage_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    simulate(StepHistory(path))
    reports = simulate(StepHistory(path), cached=("faces", "coefficients"))
    after = reports[reports[:, 0] == reports[0, 0]][-1]
    assert after[1] == pytest.approx(58.0, abs=2.0)
    step = ExpectedStep(name="faces", units=1, key="default")
    for text in ('{"faces default": [["x"]]}', '{"faces default": 3}', "{", "[]"):
        path.write_text(text, encoding="utf-8")
        assert StepHistory(path).seconds_per_unit(step) == StepHistory(tmp_path / "none.json").seconds_per_unit(step)
    StepHistory(Path("/proc/none/times.json")).save()


def test_measurements_of_the_nearest_frame_size_are_used(tmp_path: Path) -> None:
    history = StepHistory(tmp_path / "times.json")
    for megapixels, seconds in ((0.4, 10.0), (2.0, 30.0)):
        step = ExpectedStep(name="render", units=100, key="k", megapixels=megapixels)
        history.add(step, seconds, 100)
    history.save()
    again = StepHistory(tmp_path / "times.json")
    for megapixels, expected in ((0.4, 0.1), (2.0, 0.3), (8.0, 0.3 * np.sqrt(8.1 / 2.1))):
        step = ExpectedStep(name="render", units=1, key="k", megapixels=megapixels)
        assert again.seconds_per_unit(step) == pytest.approx(expected)
