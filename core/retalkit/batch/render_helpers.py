"""Worker processes that help a run to render its segments."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from retalkit.batch.executor import Task, TaskResult, WorkerDiedError
from retalkit.batch.forking import can_fork
from retalkit.batch.local import LocalExecutor
from retalkit.batch.worker import TaskContext, WorkerState
from retalkit.errors import BatchError
from retalkit.pipeline.render_helpers import RenderRequest, SegmentClaims
from retalkit.pipeline.render_share import render_share
from retalkit.plugins.registry import Registry

SHARE: Final = "retalkit.batch.render_helpers:share"
PREPARE: Final = "retalkit.batch.render_helpers:load_modules"
FRAMES_PER_PROCESS: Final = 500
"""Number of output frames per process from which another process saves more time than its start costs."""
FRAMES_PER_FORK: Final = 50
"""``FRAMES_PER_PROCESS`` for processes that are forked, which need not import any module, and videos that are decoded
within a fraction of a second."""

_REPORT_SECONDS: Final = 0.5


def share(payload: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Render segments of a run. ``payload``: ``request`` (a ``RenderRequest``) and ``plugins``."""
    request = RenderRequest(**payload["request"])
    count, reported = 0, 0.0

    def rendered(frames: int) -> None:
        nonlocal count, reported
        count, now = frames, time.monotonic()
        if now - reported >= _REPORT_SECONDS:
            reported = now
            context.report(0.0, float(frames))

    registry = context.state.registry(payload["plugins"])
    render_share(request, registry, rendered, pool=context.state.pool, cancellation=context.state.cancellation)
    return {"frames": count}


def load_modules(payload: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Import the modules of a run, so that the process is ready when the analysis is complete."""
    context.state.registry(payload["plugins"])
    return {}


class LocalRenderHelpers:
    """Implementation of ``RenderHelpers`` with processes of this machine, which start on demand."""

    def __init__(self, processes: int, plugins: Sequence[Path] = ()) -> None:
        """Initialise the helpers.

        ``processes``: maximum number of processes that render, including this process. ``plugins``: plugin files of the
        run.
        """
        self._most = processes - 1
        self._plugins = [str(path.absolute()) for path in plugins]
        self._executor: LocalExecutor | None = None
        self._tasks: list[Future[TaskResult]] = []
        self._rendered: dict[int, int] = {}
        self._lock = threading.Lock()
        self._folder: Path | None = None

    def prepare(self, frames: int, cheap_source: bool, registry: Registry) -> bool:
        forks = can_fork()
        frames_each = FRAMES_PER_FORK if forks and cheap_source else FRAMES_PER_PROCESS
        count = min(self._most, frames // frames_each - 1)
        if count < 1:
            return False
        if forks:
            try:
                self._executor = LocalExecutor(count, forked=WorkerState({tuple(self._plugins): registry}))
            except OSError:
                return False  # The limit of the number of processes is reached, so that the run renders alone.
            return True
        self._executor = LocalExecutor(count)
        for _ in range(count):
            self._submit(PREPARE, {})
        return True

    def start(self, request: RenderRequest) -> None:
        assert self._executor is not None
        self._folder = Path(tempfile.mkdtemp(prefix="retalkit-claims-"))
        for number in range(self._executor.workers):
            payload = {"request": asdict(replace(request, claims=str(self._folder)))}
            self._tasks.append(self._submit(SHARE, payload, number))

    def _submit(self, function: str, payload: Mapping[str, Any], number: int = -1) -> Future[TaskResult]:
        assert self._executor is not None

        def report(_seconds: float, frames: float) -> None:
            with self._lock:
                self._rendered[number] = int(frames)

        task = Task(function=function, payload={**payload, "plugins": self._plugins}, label="render")
        return self._executor.submit(task, report)

    def share(self, missing: Iterable[int]) -> Iterator[int]:
        assert self._folder is not None
        return SegmentClaims(self._folder).claimed(missing)

    def rendered(self) -> int:
        with self._lock:
            return sum(self._rendered.values())

    def wait(self) -> None:
        for number, task in enumerate(self._tasks):
            # The run renders the segments that a failed helper has not rendered, and reports the error if it fails too.
            with suppress(WorkerDiedError, BatchError):
                result = task.result()
                with self._lock:
                    self._rendered[number] = int(result.value.get("frames", 0))

    def close(self) -> None:
        """End the processes."""
        if self._executor is not None:
            self._executor.cancel()
            self._executor.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def default_processes() -> int:
    """Return the default number of processes that render, which is half of the available cores, and at least 2 if there
    are several cores.

    Each process keeps more than one core busy, because the encoder has its own threads.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, max(2, cores // 2))
