"""Runs whose segments several processes render. The output does not depend on the number of processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from av import VideoFrame
from retalkit.batch import run_helpers
from retalkit.batch.executor import TaskResult, WorkerDiedError
from retalkit.batch.local import LocalExecutor
from retalkit.batch.run_helpers import LocalRunHelpers, LocalSharedWork
from retalkit.batch.worker import TaskContext, WorkerState
from retalkit.config.model import load
from retalkit.errors import BatchError, OutputError, RunCancelledError
from retalkit.media import sources
from retalkit.media.decoding import FrameDecoder
from retalkit.media.pixel_format import PixelFormat
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.observer import SilentObserver
from retalkit.pipeline import segments, shared_work
from retalkit.pipeline.keys import speech_key
from retalkit.pipeline.plan import plan
from retalkit.pipeline.run import dub
from retalkit.pipeline.run_helpers import Claims, DetectionRequest, RenderRequest, SpeechRequest
from retalkit.pipeline.shared_work import detect_share, prepare_render_share, render_share, speech_share
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.stages import ObjectPool
from retalkit.storage.cache import Cache, content_hash

from tests.packets import Packets, packets


class ThreadWork:
    """Work that a thread of this process shares."""

    def __init__(self, folder: Path, share: Callable[[Callable[[int], None]], None] | None, least: int) -> None:
        """Start the thread, and wait until it has processed ``least`` frames. ``share``: None starts no thread."""
        self.folder = folder
        self.frames = 0
        self.closed = self.polled = False
        self.waiting: Callable[[], object] = lambda: None
        self._thread: threading.Thread | None = None
        if share is None:
            return
        ahead = threading.Event()

        def report(frames: int) -> None:
            self.frames = frames
            if frames >= least:
                ahead.set()

        self._thread = threading.Thread(target=share, args=(report,))
        self._thread.start()
        assert ahead.wait(60)

    def claimed(self, numbers: Iterable[int]) -> Iterator[int]:
        return Claims(self.folder).claimed(numbers)

    def done(self) -> int:
        return self.frames

    def close(self) -> None:
        self.closed = True

    def wait(self, poll: Callable[[], None]) -> None:
        self.waiting()
        poll()
        self.polled = True
        if self._thread is not None:
            self._thread.join()


class Helpers:
    """Helpers that detect and render in threads of this process. They are ahead of the run."""

    def __init__(
        self,
        folder: Path,
        fails: bool = False,
        helps: bool = True,
        waiting: Callable[[], object] = lambda: None,
    ) -> None:
        self.folder, self.fails, self.helps, self.waiting = folder, fails, helps, waiting
        self.requests: list[SpeechRequest | DetectionRequest | RenderRequest] = []
        self.works: list[ThreadWork] = []
        self.prepared = 0
        self.cheap_source = False
        self.pool = ObjectPool()

    @property
    def failures(self) -> list[str]:
        return ["killed"] * len(self.works) if self.fails else []

    def prepare(self, frames: int, size: tuple[int, int], cheap_source: bool, registry: Registry) -> int:
        self.prepared, self.cheap_source = frames, cheap_source
        return 1

    def speech(self, request: SpeechRequest) -> ThreadWork:
        share = partial(speech_share, replace(request, claims=str(self.folder / "speech")), discover())
        return self._start(request, "speech", share, 0)

    def detect(self, request: DetectionRequest) -> ThreadWork:
        share = partial(detect_share, replace(request, claims=str(self.folder / "detect")), discover())
        return self._start(request, "detect", share, 20)

    def prepare_rendering(self, request: RenderRequest) -> None:
        prepare_render_share(request, discover(), self.pool)

    def render(self, request: RenderRequest) -> ThreadWork:
        own = replace(request, claims=str(self.folder / "render"))
        share = partial(render_share, own, discover(), pool=self.pool)
        return self._start(request, "render", share, 20)

    def _start(
        self,
        request: SpeechRequest | DetectionRequest | RenderRequest,
        name: str,
        share: Callable[[Callable[[int], None]], None],
        least: int,
    ) -> ThreadWork:
        self.requests.append(request)
        folder = self.folder / name
        folder.mkdir(parents=True)
        if self.fails:
            # A helper that dies has claimed work that nobody does.
            assert list(Claims(folder).claimed([1, 3])) == [1, 3]
        self.works.append(ThreadWork(folder, share if self.helps and not self.fails else None, least))
        self.works[-1].waiting = self.waiting
        return self.works[-1]


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
    fails: bool,
    expected: tuple[Packets, Path],
    moving_head: Path,
    short_speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone, cache = expected
    _without_segments(cache)
    opened: list[Path] = []
    monkeypatch.setattr(shared_work, "open_source", lambda path: opened.append(path) or open_source(path))
    helpers = Helpers(tmp_path / "claims", fails)
    record = dub(moving_head, short_speech, tmp_path / "out.mp4", cache=cache, helpers=helpers)
    assert sum("failed (killed)" in note for note in record.notes) == int(fails)
    assert packets(tmp_path / "out.mp4") == alone
    assert helpers.cheap_source and helpers.prepared == 50 == record.frames_edited + sum(record.frames_passed.values())
    assert record.processes == 2
    assert len(opened) == 1, "the helper opens the video before the frames are rendered, and only once"
    (work,) = helpers.works
    assert len(list(work.folder.iterdir())) == 5
    assert work.frames == 0 if fails else work.frames >= 20


@pytest.mark.parametrize("fails", [False, True], ids=["complete", "failed"])
def test_shared_speech_is_identical(
    fails: bool, expected: tuple[Packets, Path], short_speech: Path, tmp_path: Path
) -> None:
    _, cache = expected
    registry = discover()
    config = load(registry, preset="embedded")
    steps = ClipSteps(plan(config, registry), Cache(tmp_path / "cache"), SilentObserver())
    sound, helpers = open_sound(short_speech), Helpers(tmp_path, fails)
    request = SpeechRequest(
        configuration=config.model_dump(mode="json"),
        speech=str(short_speech),
        cache=str(tmp_path / "cache"),
        key=speech_key(steps.plan, content_hash(short_speech)),
    )
    work = helpers.speech(request)
    track = steps.speech(sound, request.key, shared=work)
    assert work.polled and work.closed and work.done() == (0 if fails else 2)
    alone = ClipSteps(steps.plan, Cache(cache), SilentObserver()).speech(sound, request.key)
    assert np.array_equal(track.waveform(0.0, 2.0), alone.waveform(0.0, 2.0))
    times = np.arange(0.0, 2.0, 0.1)
    assert np.array_equal(track.activity(times), alone.activity(times)) and track.loudness == alone.loudness


def test_command_decodes_a_longer_video_once(
    expected: tuple[Packets, Path],
    moving_head: Path,
    short_speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only a run that may start processes has the machine for itself, in contrast to the runs of a batch."""
    alone, _ = expected
    decoded: list[int] = []
    decode = FrameDecoder.frame

    def counted(self: FrameDecoder, position: int, pixel_format: PixelFormat) -> VideoFrame:
        decoded.append(position)
        return decode(self, position, pixel_format)

    monkeypatch.setattr(FrameDecoder, "frame", counted)
    monkeypatch.setattr(sources, "SHORT_BYTES", 1000)
    helpers = Helpers(tmp_path)
    monkeypatch.setattr(helpers, "prepare", lambda *_: 0)
    monkeypatch.setattr(segments, "SEGMENT_FRAMES", 10)
    for given, repeats in ((None, True), (helpers, False)):
        decoded.clear()
        cache = tmp_path / f"cache {repeats}"
        dub(moving_head, short_speech, tmp_path / "out.mp4", cache=cache, force=True, helpers=given)
        assert packets(tmp_path / "out.mp4") == alone
        assert (len(decoded) > len(set(decoded))) == repeats


def test_worker_process_renders_segments(
    expected: tuple[Packets, Path], moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    _, cache = expected
    recorder = Helpers(tmp_path, helps=False)
    dub(moving_head, short_speech, tmp_path / "out.mp4", cache=cache, helpers=recorder)
    segments = list(cache.rglob("segment-000000.mp4"))
    _without_segments(cache)
    (request,) = recorder.requests
    assert isinstance(request, RenderRequest)
    with LocalRunHelpers(2) as helpers:
        assert helpers.prepare(1000, (448, 448), True, discover())
        work = helpers.render(request)
        work.wait(lambda: None)
        assert work.done() == 50
        assert not list(work.claimed([0])), "the process has claimed the only segment"
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

    monkeypatch.setattr(run_helpers, "LocalExecutor", executor)
    monkeypatch.setattr(run_helpers, "can_fork", lambda: forks)
    for processes, count in ((1, 100_000), (4, frames - 1)):
        with LocalRunHelpers(processes) as helpers:
            assert not helpers.prepare(count, (448, 448), cheap_source, discover())
    assert not started
    with LocalRunHelpers(4) as helpers:
        assert helpers.prepare(frames, (448, 448), cheap_source, discover())
    assert started == [forks]


@pytest.mark.parametrize("cores, small, large", [(1, 1, 1), (2, 2, 1), (4, 2, 1), (16, 8, 4)])
def test_large_frames_need_fewer_processes(cores: int, small: int, large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder of one process keeps two cores busy if the frames are large."""
    counts: list[int] = []

    def executor(workers: int, forked: WorkerState | None = None) -> SimpleNamespace:
        counts.append(workers)
        return SimpleNamespace(cancel=lambda: None, close=lambda: None)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(run_helpers, "LocalExecutor", executor)
    monkeypatch.setattr(run_helpers, "can_fork", lambda: True)
    registry = discover()
    for size, expected in (((1280, 720), small), ((1080, 1920), large)):
        with LocalRunHelpers() as helpers:
            assert helpers.prepare(100_000, size, False, registry) == expected - 1
        assert counts == ([expected - 1] if expected > 1 else [])
        counts.clear()
    with LocalRunHelpers(3) as helpers:
        assert helpers.prepare(100_000, (3840, 2160), False, registry) == 2, "the user chooses"


def test_wait_ends_stalled_processes_and_calls_poll(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_helpers, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(run_helpers, "_STALLED_SECONDS", 0.1)
    stalled: Future[TaskResult] = Future()
    killed: list[int] = []

    def kill() -> None:
        killed.append(polls)
        stalled.set_exception(WorkerDiedError("killed"))

    work = LocalSharedWork(tmp_path / "claims", kill)
    work.add(stalled)
    polls = 0

    def poll() -> None:
        nonlocal polls
        polls += 1
        assert polls < 1000, "the stalled process is not killed"
        if polls <= 20:
            work.reporter(0)(0.0, float(polls))

    work.wait(poll)
    assert len(killed) == 1 and killed[0] >= 30, "a process that makes progress must not be killed"
    assert work.failures == ["killed"]

    def cancel() -> None:
        raise RunCancelledError("stopped")

    work = LocalSharedWork(tmp_path / "claims", kill)
    work.add(Future())
    with pytest.raises(RunCancelledError):
        work.wait(cancel)


def test_rendering_can_be_cancelled_while_it_waits(
    expected: tuple[Packets, Path], moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    _, cache = expected
    _without_segments(cache)
    cancellation = threading.Event()
    helpers = Helpers(tmp_path / "claims", fails=True, waiting=cancellation.set)
    with pytest.raises(RunCancelledError):
        dub(moving_head, short_speech, tmp_path / "out.mp4", cache=cache, helpers=helpers, cancellation=cancellation)
    assert not helpers.works[0].polled
    # The run has rendered the segments that the failed helper had not claimed.
    assert len(list(cache.rglob("segment-*.mp4"))) == 3
    assert not list(tmp_path.glob("out.mp4*")) and helpers.works[0].closed


def test_claims_are_removed(
    expected: tuple[Packets, Path], moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    """The directory is in the cache, which is writable, and a killed run leaves no directory behind."""
    _, cache = expected
    request = RenderRequest(configuration={}, video="", speech="", output="", cache=str(cache))
    with LocalRunHelpers(2) as helpers:
        assert helpers.prepare(1000, (448, 448), True, discover())
        work = helpers.render(request)
        assert list(cache.glob("claims-*")) == [work.folder]
        work.wait(lambda: None)
        work.close()
        assert not work.folder.exists()
        left = helpers.render(request)
    assert not left.folder.exists()
    with LocalRunHelpers(2) as helpers, pytest.raises(OutputError) as caught:
        assert helpers.prepare(1000, (448, 448), True, discover())
        helpers.render(replace(request, cache=str(tmp_path / "missing")))
    assert caught.value.code == "unwritable-cache"


def test_run_works_alone_if_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_thread(*_: object) -> None:
        raise BatchError("cannot start worker", code="worker-start")

    request = RenderRequest(configuration={}, video="", speech="", output="", cache=str(tmp_path))
    monkeypatch.setattr(LocalExecutor, "submit", no_thread)
    with LocalRunHelpers(2) as helpers:
        assert helpers.prepare(1000, (448, 448), True, discover())
        work = helpers.render(request)
        work.wait(lambda: None)
        assert list(work.claimed([0, 1])) == [0, 1]


def test_orphan_removes_the_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([100, 100, 100, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(run_helpers, "render_share", lambda *_, **__: None)
    request = RenderRequest(configuration={}, video="", speech="", output="", cache="", claims=str(tmp_path / "claims"))
    Path(request.claims).mkdir()
    context = TaskContext(WorkerState({(): discover()}), lambda *_: None)
    for exists in (True, False):
        run_helpers.render({"request": asdict(request), "plugins": []}, context)
        assert Path(request.claims).exists() == exists


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
    recorder = Helpers(tmp_path)
    dub(moving_head, short_speech, tmp_path / "out.mp4", cache=cache, registry=registry, helpers=recorder)
    assert recorder.prepared == 0
