"""Full comparisons on a small clip: cells, failures, resume, third-party metrics."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from retalkit.batch.executor import Task as WorkerTask
from retalkit.batch.executor import TaskResult
from retalkit.batch.schedule import Node
from retalkit.comparison.cell_store import CellStore
from retalkit.comparison.publish import publish
from retalkit.comparison.results import CellResult
from retalkit.comparison.run import Outcome, compare, run_tasks
from retalkit.comparison.tasks import Task
from retalkit.errors import InputError, OutputError, PlanError
from retalkit.metrics.open_scene import measurement_key
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover

from tests.packets import packets

# A metric that counts frames and checks its input, an enhancer that raises, and one that is killed.
THIRD_PARTY = """
import os, signal
from retalkit.metrics import FRAMES, Measure, MetricSpec
from retalkit.plugins import StageConfig, StageSpec, hookimpl
from retalkit.stages import StageKind

class Counting:
    def open(self, scene):
        self.scene, self.count = scene, 0
        return self
    def add(self, frame):
        self.count += 1
        assert frame.original is not None and frame.original.shape == frame.image.shape
    def result(self):
        return {"counted_frames": self.count, "sound_seconds": len(self.scene.sound) / 16000}

class Breaking:
    def open(self, scene):
        raise RuntimeError("this metric is broken")

class Enhancer:
    def __init__(self, config, runtime):
        self.config = config
    def open(self, clip, context):
        return self
    def enhance(self, batch, edits):
        if self.config.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("this enhancer is broken")
    def close(self):
        pass

class Blackening:
    def __init__(self, config, runtime):
        pass
    def open(self, clip, context):
        return self
    def enhance(self, batch, edits):
        from retalkit.stages import FaceEdit
        import numpy as np
        whole = np.eye(2, 3, dtype=np.float32)
        return [FaceEdit(np.zeros_like(image), np.ones(image.shape[:2], np.float32), whole)
                for image in batch.faces.frames.images]
    def close(self):
        pass

class Options(StageConfig):
    killed: bool = False

@hookimpl
def retalkit_metrics():
    count = Measure("counted_frames", "frames", "higher", digits=0)
    duration = Measure("sound_seconds", "sound", "nearer", ideal=2.0, unit="s")
    yield MetricSpec("counting", "Counts frames.", (count, duration), Counting, "a test", needs=frozenset({FRAMES}))
    broken = Measure("never", "never", "higher")
    yield MetricSpec("breaking", "Breaks.", (broken,), Breaking, "a test")

@hookimpl
def retalkit_stages():
    yield StageSpec(StageKind.ENHANCER, "broken", "breaks", Enhancer, "MIT", Options,
                    frozenset({"face:edit"}), frozenset({"face:edit"}), api=2)
    yield StageSpec(StageKind.ENHANCER, "blackening", "fills frames with black", Blackening, "MIT",
                    needs=frozenset({"face:edit"}), gives=frozenset({"face:edit"}), api=2)
"""

FILE = """
title: Small
clips: {{head: {clip}}}
arms: [real, own, silence]
variants:
  plain: {{enhancers.0: none}}
  broken: {{enhancers.0: broken}}
  killed: {{enhancers.0: {{use: broken, killed: true}}}}
metrics: [counting, breaking, lips, quiet_mouth, cost]
seconds: 1.6
"""
SHORT_FILE = """
clips: {{head: {clip}}}
arms: [real, own]
variants: {{plain: {{enhancers.0: none}}}}
metrics: [lips]
seconds: 0.6
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "third_party.py"
    path.write_text(THIRD_PARTY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def comparison(talking_head: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("comparison") / "small.yaml"
    path.write_text(FILE.format(clip=talking_head), encoding="utf-8")
    return path


def run(comparison: Path, out: Path, plugin: Path, **options: bool | int) -> Outcome:
    registry = discover([plugin])
    cache = comparison.parent / "cache"
    return compare(comparison, out, registry, SilentObserver(), plugins=[plugin], cache=cache, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(comparison: Path, plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(comparison, tmp_path_factory.mktemp("compared") / "out", plugin, jobs=2)


def cells(outcome: Outcome, arm: str, variant: str, rerun: int = 0) -> CellResult:
    found = [
        cell
        for cell in outcome.results.cells
        if (cell.name.arm, cell.name.variant, cell.name.rerun) == (arm, variant, rerun)
    ]
    assert len(found) == 1
    return found[0]


def test_every_cell_has_a_state_and_failures_are_counted(finished: Outcome) -> None:
    states = {(cell.name.arm, cell.name.variant, cell.name.rerun): cell.state for cell in finished.results.cells}
    assert states == {
        ("real", "(real video)", 0): "done",
        **{(arm, name, 0): "done" for arm in ("own", "silence") for name in ("base", "plain")},
        **{(arm, name, 0): "failed" for arm in ("own", "silence") for name in ("broken", "killed")},
        **{(arm, "base", 1): "done" for arm in ("own", "silence")},
    }
    assert len(finished.failed) == 4
    assert finished.computed == 11
    assert "this enhancer is broken" in cells(finished, "own", "broken").failure
    assert "SIGKILL" in cells(finished, "own", "killed").failure


def test_cells_have_the_scores_of_their_arm(finished: Outcome) -> None:
    own, silent = cells(finished, "own", "base"), cells(finished, "silence", "base")
    # 25 frames/s; the frame that starts at the end of the sound is excluded.
    assert own.scores["counted_frames"] == 40
    assert own.scores["sound_seconds"] == pytest.approx(1.6, abs=0.01)
    assert own.scores["opening_r"] is not None
    assert "without speech" in own.absent["quiet_mouth"]
    assert silent.scores["rest_opening"] is not None
    assert "lips" in silent.absent
    anchor = cells(finished, "real", "(real video)")
    assert (anchor.scores["opening_r"] or 0) > 0.95, "the clip's lips correlate with themselves"
    assert "cost" in anchor.absent


def test_failing_metric_does_not_affect_others(finished: Outcome) -> None:
    own = cells(finished, "own", "base")
    assert own.state == "done"
    assert own.failed_metrics == {"breaking": "RuntimeError: this metric is broken"}


def test_rerun_without_cache_gives_the_same_video(finished: Outcome) -> None:
    first, again = cells(finished, "own", "base"), cells(finished, "own", "base", rerun=1)
    assert first.video != again.video
    one, other = (packets(finished.folder / cell.video) for cell in (first, again))
    assert one == other
    assert again.record["cached_steps"] == []
    assert not list((finished.folder / again.video).parent.glob("cache*"))


def test_shared_steps_are_computed_once_and_charged_to_each_variant(finished: Outcome) -> None:
    records = [cells(finished, "own", name).record for name in ("base", "plain")]
    assert any("faces" in record["cached_steps"] for record in records)
    steps = {"speech", "faces", "tracks", "coefficients", "references", "lips", "render", "join"}
    for record in records:
        assert set(record["cost"]) == steps
        assert record["cost"]["faces"] > 0.05
    assert records[0]["cost"]["faces"] == records[1]["cost"]["faces"]


def test_repeated_comparison_computes_nothing(finished: Outcome, comparison: Path, plugin: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in (finished.folder / "videos").rglob("*") if path.is_file()}
    again = run(comparison, finished.folder, plugin)
    assert again.computed == 0
    assert again.failed == finished.failed
    assert [cell.scores for cell in again.results.cells] == [cell.scores for cell in finished.results.cells]
    assert files == {
        path: path.stat().st_mtime_ns for path in (finished.folder / "videos").rglob("*") if path.is_file()
    }


def test_directory_of_another_comparison_is_not_overwritten(
    finished: Outcome, comparison: Path, plugin: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed.yaml"
    changed.write_text(comparison.read_text().replace("killed: {", "other: {"), encoding="utf-8")
    (finished.folder / "report.html").write_text("existing report", encoding="utf-8")
    with pytest.raises(OutputError, match="--force") as error:
        run(changed, finished.folder, plugin)
    assert error.value.code == "output-exists"
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "thesis.txt").write_text("text")
    with pytest.raises(OutputError, match="documents") as error:
        run(comparison, tmp_path / "documents", plugin)
    assert error.value.code == "foreign-directory"


def test_corrected_file_reuses_the_directory_after_an_error(plugin: Path, talking_head: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    path = tmp_path / "two.yaml"
    text = SHORT_FILE.format(clip=talking_head) + "reruns: 0\n"
    path.write_text(text.replace("clips: {", f"clips: {{broken: {broken}, "), encoding="utf-8")
    with pytest.raises(InputError, match=r"broken\.mp4"):
        run(path, tmp_path / "out", plugin)
    assert not list((tmp_path / "out").rglob("*.wav"))
    # A directory without a report can be reused without --force.
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "comparison.json").write_text('{"another": "file"}', encoding="utf-8")
    path.write_text(text.replace("plain: {enhancers.0", "raw: {denoiser").replace("real, ", ""), encoding="utf-8")
    assert run(path, tmp_path / "out", plugin).results.cells


def test_output_directory_that_cannot_be_created(comparison: Path, plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory", encoding="utf-8")
    with pytest.raises(OutputError, match=r"file.out") as error:
        run(comparison, tmp_path / "file" / "out", plugin)
    assert error.value.code == "unwritable-output"


def test_video_without_record_is_rendered_again(finished: Outcome, comparison: Path, plugin: Path) -> None:
    own = cells(finished, "own", "plain")
    record = (finished.folder / own.video).with_name("video.mp4.json")
    record.unlink()
    shutil.rmtree(finished.folder / "cells" / own.key)
    again = run(comparison, finished.folder, plugin)
    assert again.computed == 1 and record.is_file()
    assert cells(again, "own", "plain").scores["peak_memory"] is not None


def test_scores_of_another_tracker_are_ignored(finished: Outcome) -> None:
    own, lips = cells(finished, "own", "base"), discover().metric("lips")
    assert CellStore(finished.folder, measurement_key(discover())).score(own.key, lips) is not None
    assert CellStore(finished.folder, "another tracker").score(own.key, lips) is None


def test_lost_face_counts_as_failure(talking_head: Path, plugin: Path, tmp_path: Path) -> None:
    path = tmp_path / "lost.yaml"
    path.write_text(
        f"clips: {{head: {talking_head}}}\narms: [own]\nreruns: 0\nseconds: 0.6\nmetrics: [face, lips, sharpness]\n"
        "variants: {black: {enhancers.0: blackening}}\n",
        encoding="utf-8",
    )
    outcome = run(path, tmp_path / "out", plugin)
    black = cells(outcome, "own", "black")
    assert black.scores["face_kept"] == 0
    assert set(black.failed_metrics) == {"lips", "sharpness"}
    assert cells(outcome, "own", "base").scores["face_kept"] == 1
    report = publish(outcome.results, outcome.folder, outcome.faces).read_text(encoding="utf-8")
    assert f"Lips and sharpness failed in 1 cell: {black.failed_metrics['lips']}" in report


def test_unavailable_variant_is_reported_first(talking_head: Path, tmp_path: Path, plugin: Path) -> None:
    path = tmp_path / "paper.yaml"
    path.write_text(f"clips: [{talking_head}]\nvariants: {{paper: {{lip_syncer: lnet}}}}\n", encoding="utf-8")
    with pytest.raises(PlanError, match=r"paper\.yaml: variant 'paper': ") as error:
        run(path, tmp_path / "out", plugin)
    assert error.value.code == "missing-weights"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_killed_comparison_resumes(talking_head: Path, plugin: Path, tmp_path: Path) -> None:
    comparison = tmp_path / "short.yaml"
    comparison.write_text(SHORT_FILE.format(clip=talking_head), encoding="utf-8")
    out, cache = tmp_path / "out", tmp_path / "cache"
    command = [sys.executable, "-m", "retalkit", "compare", str(comparison), "-o", str(out), "--cache", str(cache)]
    process = subprocess.Popen([*command, "--plugin", str(plugin), "-q"], start_new_session=True)
    limit = time.monotonic() + 120
    while not list(out.glob("cells/*/lips.json")) and time.monotonic() < limit:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("videos/*/video.mp4")}
    assert kept
    assert not (out / "results.json").exists()
    outcome = compare(comparison, out, discover([plugin]), SilentObserver(), plugins=[plugin], cache=cache, jobs=2)
    assert len(outcome.results.cells) == 4
    assert outcome.computed <= 4 - len(kept) + 1
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


def test_first_task_of_a_clip_runs_before_the_others(tmp_path: Path) -> None:
    waiting: list[tuple[str, Future[TaskResult]]] = []
    together: list[set[str]] = []

    class FakeExecutor:
        workers = 3

        def submit(self, task: WorkerTask, report: object = None) -> Future[TaskResult]:
            waiting.append((task.label, Future()))
            return waiting[-1][1]

    class Events:
        ended_keys: list[str] = []

        def started(self, node: Node, attempt: int) -> None: ...

        def ended(self, node: Node, result: TaskResult, attempts: int) -> None:
            self.ended_keys.append(node.key)

        def tick(self, running: object) -> None:
            # All workers are busy, or no task is ready.
            together.append({label for label, _ in waiting})
            waiting.pop(0)[1].set_result(TaskResult(code="failed", message="the others still run"))

    tasks = [Task(f"{clip}{n}", clip, tmp_path, tmp_path, {}, False, 0) for clip in "ab" for n in range(3)]
    events = Events()
    run_tasks(tasks, lambda task: WorkerTask(function="", payload={}, label=task.key), FakeExecutor(), events)  # type: ignore[arg-type]
    assert sorted(events.ended_keys) == sorted(task.key for task in tasks)
    assert together[0] == {"a0", "b0"}
    assert not any({"a0", "a1"} <= group or {"b0", "b1"} <= group for group in together)
    assert any({"a1", "a2"} <= group for group in together)
    assert max(len(group) for group in together) <= 3
