"""What a step costs is known also where it was not computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import retalkit
from retalkit.config import RunConfig
from retalkit.pipeline import timing as costs
from retalkit.pipeline.timing import Stopwatch, kept_cost, kept_peak
from retalkit.plugins.discovery import discover
from retalkit.storage.cache import Folder


def test_the_first_measurement_counts(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "step")
    assert kept_cost(folder, "open", 0.0, 0, 1) is None, "nobody has computed it yet"
    assert kept_cost(folder, "open", 4.0, 1, 1) == 4.0
    assert kept_cost(folder, "open", 0.1, 1, 1) == 4.0
    assert kept_cost(folder, "open", 0.0, 0, 1) == 4.0


def test_a_part_stands_for_the_whole_and_a_small_part_is_not_kept(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "frames")
    assert kept_cost(folder, "frames", 2.0, 10, 100) == pytest.approx(20.0)
    assert kept_cost(folder, "frames", 9.0, 60, 100) == pytest.approx(15.0)
    assert kept_cost(folder, "frames", 0.0, 0, 200) == pytest.approx(30.0)


def test_the_memory_of_a_step_is_that_of_the_process_which_computed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "peak_memory_bytes", lambda: 500)
    assert kept_peak(Folder(tmp_path / "old"), fresh=False) is None, "nobody has computed it yet"
    assert kept_peak(Folder(tmp_path / "step"), fresh=True) == 500
    monkeypatch.setattr(costs, "peak_memory_bytes", lambda: 90)
    assert kept_peak(Folder(tmp_path / "step"), fresh=False) == 500


def test_a_stopwatch_adds_up() -> None:
    watch = Stopwatch()
    for _ in range(3):
        with watch.timing("one", 4):
            pass
    assert watch.units["one"] == 12
    assert watch.seconds["one"] >= 0


def test_a_cached_run_tells_what_it_would_have_cost(moving_head: Path, short_speech: Path, tmp_path: Path) -> None:
    registry = discover()

    def run(name: str, *overrides: str) -> retalkit.RunRecord:
        config = RunConfig.from_preset(registry=registry, overrides=["length=speech", *overrides])
        return retalkit.dub(moving_head, short_speech, tmp_path / name, config=config, cache=tmp_path / "cache")

    first, again = run("first.mp4"), run("again.mp4")
    steps = {"speech", "faces", "coefficients", "references", "lips", "render"}
    for step in steps - {"references"}:
        assert first.cost[step] == pytest.approx(first.seconds[step], abs=0.01), step
    assert {"faces", "render"} <= set(again.cached_steps)
    assert {step: again.cost[step] for step in steps} == {step: first.cost[step] for step in steps}
    assert set(first.stage_cost) == {"expression_editor", "lip_syncer", "enhancers.0"}
    assert again.stage_cost == first.stage_cost
    # A process that has little to do holds less, but the run costs what it cost.
    assert first.peak_memory_cost >= first.peak_memory_bytes > 0
    assert again.peak_memory_cost >= first.peak_memory_cost
    other = run("other.mp4", "enhancers=[]")
    assert other.cost["faces"] == first.cost["faces"]
    assert set(other.stage_cost) == {"expression_editor", "lip_syncer"}
    assert first.weight_bytes["lip_syncer.weights"] > 1_000_000
