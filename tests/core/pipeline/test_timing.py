"""The cost of a step is known also where it was not computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import retalkit
from retalkit.config import RunConfig
from retalkit.observer import SilentObserver
from retalkit.pipeline import timing as costs
from retalkit.pipeline.timing import StepTimer, Stopwatch, stored_cost, stored_peak
from retalkit.plugins.discovery import discover
from retalkit.storage.cache import Folder


def test_first_measurement_is_used(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "step")
    assert stored_cost(folder, "open", 0.0, 0, 1) is None, "not computed yet"
    assert stored_cost(folder, "open", 4.0, 1, 1) == 4.0
    assert stored_cost(folder, "open", 0.1, 1, 1) == 4.0
    assert stored_cost(folder, "open", 0.0, 0, 1) == 4.0


def test_partial_measurement_is_scaled_and_a_small_part_is_not_stored(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "frames")
    assert stored_cost(folder, "frames", 2.0, 10, 100) == pytest.approx(20.0)
    assert stored_cost(folder, "frames", 9.0, 60, 100) == pytest.approx(15.0)
    assert stored_cost(folder, "frames", 0.0, 0, 200) == pytest.approx(30.0)


def test_peak_memory_is_that_of_the_computing_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "peak_memory_bytes", lambda: 500)
    assert stored_peak(Folder(tmp_path / "old"), fresh=False) is None, "not computed yet"
    assert stored_peak(Folder(tmp_path / "step"), fresh=True) == 500
    monkeypatch.setattr(costs, "peak_memory_bytes", lambda: 90)
    assert stored_peak(Folder(tmp_path / "step"), fresh=False) == 500


def test_stopwatch_accumulates() -> None:
    watch = Stopwatch()
    for _ in range(3):
        with watch.timing("one", 4):
            pass
    assert watch.units["one"] == 12
    assert watch.seconds["one"] >= 0


def test_cost_of_a_result_that_is_read_again_counts_once(tmp_path: Path) -> None:
    timer = StepTimer(SilentObserver())
    for name in ("one", "other"):
        stored_cost(Folder(tmp_path / name), "open", 4.0, 1, 1)
    for name in ("one", "one", "other"):
        with timer.step("faces", None, Folder(tmp_path / name)) as step:
            step.cached()
    assert timer.cost["faces"] == 8.0


def test_cached_run_reports_the_cost_of_computing(moving_head: Path, short_speech: Path, tmp_path: Path) -> None:
    registry = discover()

    def run(name: str, *overrides: str) -> retalkit.RunRecord:
        config = RunConfig.from_preset(registry=registry, overrides=["length=speech", *overrides])
        return retalkit.dub(moving_head, short_speech, tmp_path / name, config=config, cache=tmp_path / "cache")

    first, again = run("first.mp4"), run("again.mp4")
    steps = {"speech", "faces", "tracks", "coefficients", "references", "lips", "render"}
    for step in steps - {"references"}:
        assert first.cost[step] == pytest.approx(first.seconds[step], abs=0.01), step
    assert {"faces", "render"} <= set(again.cached_steps)
    assert {step: again.cost[step] for step in steps} == {step: first.cost[step] for step in steps}
    assert set(first.stage_cost) == {"expression_editor", "lip_syncer", "enhancers.0"}
    assert again.stage_cost == first.stage_cost
    # A process with little to do needs less memory, but the cost of the run stays.
    assert first.peak_memory_cost >= first.peak_memory_bytes > 0
    assert again.peak_memory_cost >= first.peak_memory_cost
    other = run("other.mp4", "enhancers=[]")
    assert other.cost["faces"] == first.cost["faces"]
    assert set(other.stage_cost) == {"expression_editor", "lip_syncer"}
    assert first.weight_bytes["lip_syncer.driver.weights"] > 1_000_000
