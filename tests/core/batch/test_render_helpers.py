"""Runs whose segments several processes render. The output does not depend on the number of processes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from retalkit.batch import render_helpers
from retalkit.batch.render_helpers import LocalRenderHelpers
from retalkit.batch.worker import WorkerState
from retalkit.pipeline import segments
from retalkit.pipeline.render_helpers import RenderRequest, SegmentClaims
from retalkit.pipeline.render_share import render_share
from retalkit.pipeline.run import dub
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry

from tests.packets import Packets, packets


class Recorder(LocalRenderHelpers):
    """Helpers that only record the request of the run."""

    def __init__(self) -> None:
        super().__init__(2)
        self.request: RenderRequest | None = None
        self.prepared = 0
        self.cheap_source = False

    def prepare(self, frames: int, cheap_source: bool, registry: Registry) -> bool:
        self.prepared, self.cheap_source = frames, cheap_source
        return True

    def start(self, request: RenderRequest) -> None:
        self.request = request

    def share(self, missing: Iterable[int]) -> Iterator[int]:
        return iter(missing)


class ThreadHelpers(Recorder):
    """Helper that renders in a thread of this process. It renders two segments before the run renders any."""

    def __init__(self, folder: Path, fails: bool) -> None:
        super().__init__()
        self.folder, self.fails = folder, fails
        self.frames = 0
        self.ahead = threading.Event()
        self.thread: threading.Thread | None = None

    def start(self, request: RenderRequest) -> None:
        self.folder.mkdir()
        if self.fails:
            # A helper that dies has claimed segments that nobody renders.
            assert list(SegmentClaims(self.folder).claimed([1, 3])) == [1, 3]
            return
        self.thread = threading.Thread(target=self._render, args=(replace(request, claims=str(self.folder)),))
        self.thread.start()
        assert self.ahead.wait(60)

    def _render(self, request: RenderRequest) -> None:
        def rendered(frames: int) -> None:
            self.frames = frames
            if frames >= 20:
                self.ahead.set()

        render_share(request, discover(), rendered)

    def share(self, missing: Iterable[int]) -> Iterator[int]:
        return SegmentClaims(self.folder).claimed(missing)

    def rendered(self) -> int:
        return self.frames

    def wait(self) -> None:
        if self.thread is not None:
            self.thread.join()


@pytest.fixture(scope="module")
def expected(
    moving_head: Path, short_speech: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Packets, Path]]:
    """Packets of a run in one process with segments of 10 frames, and its cache."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SEGMENT_FRAMES", 10)
        dub(moving_head, short_speech, folder / "out.mp4", cache=folder / "cache")
        yield packets(folder / "out.mp4"), folder / "cache"


def _without_segments(cache: Path) -> None:
    for path in cache.rglob("segment-*"):
        path.unlink()


@pytest.mark.parametrize("fails", [False, True], ids=["complete", "failed"])
def test_shared_output_is_identical(
    fails: bool, expected: tuple[Packets, Path], moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    alone, cache = expected
    _without_segments(cache)
    helpers = ThreadHelpers(tmp_path / "claims", fails)
    record = dub(moving_head, short_speech, tmp_path / "out.mp4", cache=cache, helpers=helpers)
    assert packets(tmp_path / "out.mp4") == alone
    assert helpers.cheap_source and helpers.prepared == 50 == record.frames_edited + sum(record.frames_passed.values())
    assert len(list((tmp_path / "claims").iterdir())) == 5
    assert helpers.frames == 0 if fails else helpers.frames >= 20


def test_worker_process_renders_segments(
    expected: tuple[Packets, Path], moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    _, cache = expected
    recorder = Recorder()
    dub(moving_head, short_speech, tmp_path / "out.mp4", cache=cache, helpers=recorder)
    segments = list(cache.rglob("segment-000000.mp4"))
    _without_segments(cache)
    assert recorder.request is not None
    with LocalRenderHelpers(2) as helpers:
        assert helpers.prepare(1000, True, discover())
        helpers.start(recorder.request)
        helpers.wait()
        assert helpers.rendered() == 50
        assert not list(helpers.share([0])), "the process has claimed the only segment"
    assert list(cache.rglob("segment-*.mp4")) == segments


@pytest.mark.parametrize("forks, cheap_source, frames", [(False, True, 1000), (True, False, 1000), (True, True, 100)])
def test_short_runs_start_no_process(
    forks: bool, cheap_source: bool, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork starts fast, but each process decodes the video, so that only short videos with few frames are shared."""
    started: list[bool] = []

    def executor(workers: int, forked: WorkerState | None = None) -> SimpleNamespace:
        started.append(forked is not None)
        nothing = SimpleNamespace(result=lambda: None)
        return SimpleNamespace(submit=lambda task, report: nothing, cancel=lambda: None, close=lambda: None)

    monkeypatch.setattr(render_helpers, "LocalExecutor", executor)
    monkeypatch.setattr(render_helpers, "can_fork", lambda: forks)
    for processes, count in ((1, 100_000), (4, frames - 1)):
        with LocalRenderHelpers(processes) as helpers:
            assert not helpers.prepare(count, cheap_source, discover())
    assert not started
    with LocalRenderHelpers(4) as helpers:
        assert helpers.prepare(frames, cheap_source, discover())
    assert started == [forks]


def test_a_stage_that_is_not_parallel_renders_alone(
    expected: tuple[Packets, Path],
    moving_head: Path,
    short_speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, cache = expected
    _without_segments(cache)
    registry = discover()
    stages = [
        replace(each, spec=replace(each.spec, parallel=False)) if each.spec.name == "exemplar" else each
        for each in registry.stages
    ]
    registry = replace(registry, stages=stages)
    recorder = Recorder()
    dub(moving_head, short_speech, tmp_path / "out.mp4", cache=cache, registry=registry, helpers=recorder)
    assert recorder.prepared == 0
