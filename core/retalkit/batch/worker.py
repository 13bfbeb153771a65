"""Execution of tasks in a worker process. Both executors use this module, so that their results are identical."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from retalkit.batch.executor import Report, Task, TaskResult
from retalkit.errors import RetalkitError, RunCancelledError, StageError
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.plugins.specs import resolve
from retalkit.stages import ObjectPool

_REPORT_SECONDS = 1.0


class WorkerState:
    """State of one worker process, which its tasks share."""

    def __init__(self, registries: Mapping[tuple[str, ...], Registry] | None = None) -> None:
        """Initialise the state. ``registries``: known registries by plugin files."""
        self.pool = ObjectPool()
        """Pool that keeps stages and networks loaded between tasks."""
        self.cancellation = threading.Event()
        self._registries = dict(registries or {})

    def registry(self, plugins: Sequence[str]) -> Registry:
        """Return the installed plugins and the plugin files ``plugins``. Each set of files is loaded once."""
        key = tuple(plugins)
        if key not in self._registries:
            self._registries[key] = discover([Path(path) for path in plugins])
        return self._registries[key]


class TaskContext:
    """Environment of one task: the state of the worker, and the observer of the task's progress."""

    def __init__(self, state: WorkerState, report: Report) -> None:
        self.state = state
        self.report = report
        self.observer = ReportingObserver(report)


TaskFunction = Callable[[Mapping[str, Any], TaskContext], Mapping[str, Any]]
"""Function that a task calls. The payload and the return value are JSON-compatible."""


class ReportingObserver:
    """Observer that forwards the time left of a run at most once per second, and ignores other events."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last = 0.0

    def started(self, step: str, total: int | None) -> None: ...

    def advanced(self, step: str, done: int) -> None: ...

    def finished(self, step: str, seconds: float, cached: bool) -> None: ...

    def note(self, text: str) -> None: ...

    def artefact(self, name: str, path: Path) -> None: ...

    def time_left(self, seconds: float, fraction: float) -> None:
        now = time.monotonic()
        if now - self._last >= _REPORT_SECONDS:
            self._last = now
            self._report(seconds, fraction)


def perform(task: Task, state: WorkerState, report: Report) -> TaskResult:
    """Execute a task. All exceptions of the function are converted to a result with an error code."""
    start, cpu = time.perf_counter(), time.process_time()
    value: Mapping[str, Any] = {}
    code, message, is_user_error = "", "", False
    with redirect_output(task.log):
        try:
            function: TaskFunction = resolve(task.function)
            value = function(task.payload, TaskContext(state, report))
        except RetalkitError as error:
            code, message, is_user_error = error.code, _one_line(error), True
            traceback.print_exc()
        except (StageError, RunCancelledError) as error:
            code, message = error.code, _one_line(error)
            traceback.print_exc()
        except Exception as error:  # plugins may raise any exception
            code, message = "internal-error", f"{type(error).__name__}: {_one_line(error)}"
            traceback.print_exc()
    return TaskResult(
        value=value,
        code=code,
        message=message,
        is_user_error=is_user_error,
        seconds=time.perf_counter() - start,
        cpu_seconds=time.process_time() - cpu,
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )


@contextmanager
def redirect_output(log: Path | None) -> Generator[None]:
    """Redirect the process's stdout and stderr, including the output of native libraries, to a file."""
    target = _open_log(log)
    streams = (sys.stdout, sys.stderr)
    kept = [os.dup(1), os.dup(2)]
    try:
        for stream in streams:
            stream.flush()
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        for stream in streams:
            with suppress(OSError):
                stream.flush()
        for number, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, number)
            os.close(saved)
        os.close(target)


def _open_log(log: Path | None) -> int:
    """Return the descriptor of a new log file, or of the null device if the file cannot be created."""
    if log is not None:
        # A full disk must not end the worker. The error of the task is also part of its result.
        with suppress(OSError):
            log.parent.mkdir(parents=True, exist_ok=True)
            return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    return os.open(os.devnull, os.O_WRONLY)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
