"""Worker processes that help a run to denoise the speech, to detect faces and to render segments."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from retalkit.batch.executor import ClosedAtExit, Task, TaskResult, WorkerDiedError
from retalkit.batch.forking import can_fork
from retalkit.batch.local import LocalExecutor
from retalkit.batch.worker import TaskContext, WorkerState
from retalkit.errors import BatchError
from retalkit.pipeline.run_helpers import Claims, DetectionRequest, RenderRequest, SpeechRequest
from retalkit.pipeline.segments import is_large
from retalkit.pipeline.shared_work import detect_share, prepare_render_share, render_share, speech_share
from retalkit.plugins.registry import Registry
from retalkit.storage.cache import unwritable_cache

RENDER: Final = "retalkit.batch.run_helpers:render"
SPEECH: Final = "retalkit.batch.run_helpers:speech"
DETECT: Final = "retalkit.batch.run_helpers:detect"
PREPARE: Final = "retalkit.batch.run_helpers:load_modules"
PREPARE_RENDERING: Final = "retalkit.batch.run_helpers:prepare_rendering"
FRAMES_PER_PROCESS: Final = 500
"""Number of output frames per process from which another process saves more time than its start costs."""
FRAMES_PER_FORK: Final = 50
"""``FRAMES_PER_PROCESS`` for processes that are forked, which need not import any module, and videos that are decoded
within a fraction of a second."""

Request = SpeechRequest | DetectionRequest | RenderRequest

_REPORT_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.1
_STALLED_SECONDS: Final = 120.0
"""Time without progress after which the run kills the other processes and does the rest of their work itself."""


def render(payload: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Render segments of a run. ``payload``: ``request`` (a ``RenderRequest``) and ``plugins``."""
    return _help(render_share, RenderRequest(**payload["request"]), payload["plugins"], context)


def speech(payload: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Denoise the speech of a run. ``payload``: ``request`` (a ``SpeechRequest``) and ``plugins``."""
    return _help(speech_share, SpeechRequest(**payload["request"]), payload["plugins"], context)


def detect(payload: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Detect parts of a clip. ``payload``: ``request`` (a ``DetectionRequest``) and ``plugins``."""
    return _help(detect_share, DetectionRequest(**payload["request"]), payload["plugins"], context)


def _help(
    share: Callable[..., None], request: Request, plugins: Sequence[str], context: TaskContext
) -> Mapping[str, Any]:
    """Do a share of the work, and return the number of processed frames."""
    frames, state = _FrameReport(context), context.state
    with _orphaned_claims_removed(Path(request.claims)):
        share(request, state.registry(plugins), frames, pool=state.pool, cancellation=state.cancellation)
    return {"frames": frames.count}


@contextmanager
def _orphaned_claims_removed(folder: Path) -> Generator[None]:
    """Remove the directory of the claims if the process of the run is killed."""
    parent = os.getppid()
    try:
        yield
    finally:
        if os.getppid() != parent:
            shutil.rmtree(folder, ignore_errors=True)


class _FrameReport:
    """Callable that reports the number of processed frames at most twice per second."""

    def __init__(self, context: TaskContext) -> None:
        self.count = 0
        self._context = context
        self._reported = 0.0

    def __call__(self, frames: int) -> None:
        self.count, now = frames, time.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            self._context.report(0.0, float(frames))


def load_modules(payload: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Import the modules of a run, so that the process is ready when the analysis is complete."""
    context.state.registry(payload["plugins"])
    return {}


def prepare_rendering(payload: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Open the files and construct the stages of a later task ``render`` with the same payload."""
    state = context.state
    prepare_render_share(RenderRequest(**payload["request"]), state.registry(payload["plugins"]), state.pool)
    return {}


class LocalRunHelpers(ClosedAtExit):
    """Implementation of ``RunHelpers`` with processes of this machine, which start on demand."""

    def __init__(self, processes: int | None = None, plugins: Sequence[Path] = ()) -> None:
        """Initialise the helpers.

        ``processes``: maximum number of processes of the run, including this process. None selects
        ``default_processes``. ``plugins``: plugin files of the run.
        """
        self._processes = processes
        self._plugins = [str(path.absolute()) for path in plugins]
        self._executor: LocalExecutor | None = None
        self._works: list[LocalSharedWork] = []

    @property
    def failures(self) -> list[str]:
        return [failure for work in self._works for failure in work.failures]

    def prepare(self, frames: int, size: tuple[int, int], cheap_source: bool, registry: Registry) -> int:
        forks = can_fork()
        frames_each = FRAMES_PER_FORK if forks and cheap_source else FRAMES_PER_PROCESS
        most = default_processes(is_large(size)) if self._processes is None else self._processes
        count = min(most, frames // frames_each) - 1
        if count < 1:
            return 0
        if forks:
            try:
                self._executor = LocalExecutor(count, forked=WorkerState({tuple(self._plugins): registry}))
            except OSError:
                return 0  # The limit of the number of processes is reached, so that the run renders alone.
            return count
        self._executor = LocalExecutor(count)
        with suppress(BatchError):
            for _ in range(count):
                self._submit(PREPARE, {})
        return count

    def speech(self, request: SpeechRequest) -> LocalSharedWork:
        return self._start(SPEECH, request)

    def detect(self, request: DetectionRequest) -> LocalSharedWork:
        return self._start(DETECT, request)

    def prepare_rendering(self, request: RenderRequest) -> None:
        assert self._executor is not None
        with suppress(BatchError):
            for _ in range(self._executor.workers):
                self._submit(PREPARE_RENDERING, {"request": asdict(request)})

    def render(self, request: RenderRequest) -> LocalSharedWork:
        return self._start(RENDER, request)

    def _start(self, function: str, request: Request) -> LocalSharedWork:
        """Submit the request once per process."""
        assert self._executor is not None
        try:
            folder = Path(tempfile.mkdtemp(prefix="claims-", dir=request.cache))
        except OSError as error:
            raise unwritable_cache(Path(request.cache), error) from error
        work = LocalSharedWork(folder, self._executor.kill)
        self._works.append(work)
        workers = self._executor.workers
        # The run does the work itself if the limit of the number of threads is reached.
        with suppress(BatchError):
            for number in range(workers):
                own = replace(request, claims=str(folder))
                if isinstance(own, RenderRequest):
                    own = replace(own, begin=(number + 1) / (workers + 1))
                work.add(self._submit(function, {"request": asdict(own)}, work.reporter(number)))
        return work

    def _submit(
        self, function: str, payload: Mapping[str, Any], report: Callable[[float, float], None] | None = None
    ) -> Future[TaskResult]:
        assert self._executor is not None
        task = Task(function=function, payload={**payload, "plugins": self._plugins}, label="help")
        return self._executor.submit(task, report)

    def close(self) -> None:
        """End the processes."""
        if self._executor is not None:
            self._executor.cancel()
            self._executor.close()
        for work in self._works:
            work.close()


class LocalSharedWork:
    """Implementation of ``SharedWork`` for tasks of a ``LocalExecutor``."""

    def __init__(self, folder: Path, kill: Callable[[], None]) -> None:
        """Initialise the work. ``folder``: empty directory for the claims. ``kill``: kills the other processes."""
        self.folder = folder
        self.failures: list[str] = []
        """Reasons why other processes have not done their work."""
        self._kill = kill
        self._tasks: list[Future[TaskResult]] = []
        self._frames: dict[int, int] = {}
        self._lock = threading.Lock()

    def add(self, task: Future[TaskResult]) -> None:
        """Add the task of another process."""
        self._tasks.append(task)

    def reporter(self, number: int) -> Callable[[float, float], None]:
        """Return the function that receives the progress of the task ``number``."""

        def report(_seconds: float, frames: float) -> None:
            with self._lock:
                self._frames[number] = int(frames)

        return report

    def claimed(self, numbers: Iterable[int]) -> Iterator[int]:
        return Claims(self.folder).claimed(numbers)

    def done(self) -> int:
        with self._lock:
            return sum(self._frames.values())

    def wait(self, poll: Callable[[], None]) -> None:
        idle, done = 0.0, self.done()
        while wait(self._tasks, _POLL_SECONDS).not_done:
            poll()
            # The polls are counted, because the clock also advances while all processes are suspended.
            idle, done = idle + _POLL_SECONDS if self.done() == done else 0.0, self.done()
            if idle >= _STALLED_SECONDS:
                self._kill()
                idle = 0.0
        for number, task in enumerate(self._tasks):
            # The run itself does the work that a failed process has not done, and reports the error if it fails too.
            try:
                result = task.result()
            except (WorkerDiedError, BatchError) as error:
                self.failures.append(str(error))
                continue
            if result.failed:
                self.failures.append(result.message)
            with self._lock:
                self._frames[number] = int(result.value.get("frames", 0))

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def default_processes(large: bool = False) -> int:
    """Return the default number of processes of a run.

    The default is half of the available cores, and at least 2 if there are several cores, because each process keeps
    more than one core busy: the encoder has its own threads. ``large``: whether the frames are large, so that each
    process keeps more than two cores busy. The default is then a quarter of the cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // 4) if large else min(cores, max(2, cores // 2))
