"""Executor that runs tasks in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Final

from retalkit.batch.executor import ClosedAtExit, Report, Task, TaskResult, WorkerDiedError, death_message
from retalkit.batch.forking import open_descriptors
from retalkit.errors import BatchError

if TYPE_CHECKING:
    from retalkit.batch.worker import WorkerState

_END_SECONDS: Final = 5.0
"""Time in seconds that an idle worker has to end before it is terminated."""


class LocalExecutor(ClosedAtExit):
    """Executor with a fixed number of worker processes.

    A thread per worker passes tasks through a separate pipe, so that a killed worker affects only its own task and
    no lock is shared between processes. A worker ends when its end of the pipe is closed, also if this process is
    killed.
    """

    def __init__(self, workers: int = 1, *, fresh: bool = False, forked: WorkerState | None = None) -> None:
        """Prepare ``workers`` processes, which start on demand.

        ``fresh``: start a new process for every task, so that the peak memory of each task can be measured. ``forked``:
        fork this process instead, now, and use this state in the copies. The caller must check ``can_fork`` before.
        """
        self._workers = workers
        self._fresh = fresh
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="worker")
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started: set[_Process] = set()
        self._closed = False
        for _ in range(0 if forked is None else workers):
            process = _Process(multiprocessing.get_context("fork"), self._threads_per_process, forked)
            self._started.add(process)
            self._idle.put(process)

    @property
    def _threads_per_process(self) -> int:
        return max(1, (os.cpu_count() or 1) // self._workers)

    @property
    def workers(self) -> int:
        return self._workers

    def submit(self, task: Task, report: Report | None = None) -> Future[TaskResult]:
        try:
            return self._threads.submit(self._run, task, report)
        except RuntimeError as error:
            raise self._start_error(error) from error

    def cancel(self) -> None:
        with self._lock:
            for process in self._started:
                process.send("cancel")

    def kill(self) -> None:
        """Kill all processes. Their tasks fail with WorkerDiedError, and later tasks start new processes."""
        with self._lock:
            for process in self._started:
                process.kill()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            started = list(self._started)
        for process in started:
            process.disconnect()
        for process in started:
            process.end()
        self._threads.shutdown(cancel_futures=True)

    def processes(self) -> list[int]:
        """Return the ids of the worker processes that are running."""
        with self._lock:
            return [process.id for process in self._started if process.is_alive]

    def _run(self, task: Task, report: Report | None) -> TaskResult:
        process = self._take()
        try:
            result = process.run(task, report)
        except BaseException:
            self._discard(process)
            raise
        if self._fresh:
            process.disconnect()
            self._discard(process)
        else:
            self._idle.put(process)
        return result

    def _take(self) -> _Process:
        with suppress(queue.Empty):
            while True:
                process = self._idle.get_nowait()
                if process.is_alive:
                    return process
                self._discard(process)
        with self._lock:
            if self._closed:
                raise WorkerDiedError("the executor is closed")
            try:
                process = _Process(start_context(), self._threads_per_process)
            except OSError as error:
                raise self._start_error(error) from error
            self._started.add(process)
        return process

    def _start_error(self, error: Exception) -> BatchError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        text = f"cannot start worker {len(self._started) + 1} of {self._workers}: {reason}"
        return BatchError(f"{text}; run fewer workers with --jobs", code="worker-start")

    def _discard(self, process: _Process) -> None:
        process.end()
        with self._lock:
            self._started.discard(process)


class _Process:
    """Worker process and this process's end of the pipe."""

    def __init__(self, context: BaseContext, threads: int, forked: WorkerState | None = None) -> None:
        """Start the process. ``forked``: state of a forked process, which ``context`` must start."""
        inherited = [] if forked is None else open_descriptors()
        self._connection, other = context.Pipe()
        if forked is not None:
            inherited.append(self._connection.fileno())
        # The process does not end with an exception of the main thread, but when the pipe is closed.
        self._process: Any = context.Process(  # type: ignore[attr-defined]
            target=serve, args=(other, threads, forked, inherited), name="retalkit worker", daemon=False
        )
        self._sending = threading.Lock()
        self._process.start()
        other.close()

    @property
    def id(self) -> int:
        return int(self._process.pid or 0)

    @property
    def is_alive(self) -> bool:
        return bool(self._process.is_alive())

    def send(self, message: object) -> None:
        """Send a message. A closed pipe is ignored, because the death of the process is detected elsewhere."""
        with self._sending, suppress(OSError, ValueError):
            self._connection.send(message)

    def run(self, task: Task, report: Report | None) -> TaskResult:
        """Send a task and wait for its result. Raises WorkerDiedError if the process ends before."""
        self.send(("task", task.to_json()))
        while True:
            wait([self._connection, self._process.sentinel])
            try:
                # Messages that the process sent before its death are still in the pipe.
                message = self._connection.recv() if self._connection.poll() else None
            except (EOFError, OSError, ValueError):
                message = None
            if message is None:
                self._process.join(_END_SECONDS)
                raise WorkerDiedError(f"worker process {death_message(self._process.exitcode)}")
            if isinstance(message, TaskResult):
                return message
            if report is not None:
                report(*message)

    def disconnect(self) -> None:
        """Close the pipe, which ends the process."""
        with self._sending, suppress(OSError):
            self._connection.close()

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def end(self) -> None:
        """Close the pipe, and terminate the process if it does not end."""
        self.disconnect()
        self._process.join(_END_SECONDS)
        if self.is_alive:
            self.kill()
            self._process.join()


def start_context() -> BaseContext:
    """Return the method that starts worker processes. A forked process could inherit locks that are held."""
    return multiprocessing.get_context("spawn")


def serve(
    connection: Connection, threads: int, forked: WorkerState | None = None, inherited: Sequence[int] = ()
) -> None:
    """Main function of a worker process: execute tasks until the pipe is closed.

    ``threads``: default number of OpenMP threads, so that all workers together use each core once. ``forked``: state of
    a forked process. ``inherited``: file descriptors of the parent process, which a forked process closes, because
    files, locks and pipes would otherwise stay open after the parent process has ended.
    """
    for descriptor in inherited:
        with suppress(OSError):
            os.close(descriptor)
    # Signals reach all processes of a terminal or a service, but the driver decides when a task stops.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from retalkit.batch.worker import WorkerState, perform

    state = WorkerState() if forked is None else forked
    sending = threading.Lock()
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()

    def receive() -> None:
        while True:
            try:
                message = connection.recv()
            except (EOFError, OSError):
                # The driver has ended. The task is cancelled, so that its temporary files are removed.
                state.cancellation.set()
                tasks.put("")
                time.sleep(_END_SECONDS / 2)
                os._exit(0)
            if message == "cancel":
                state.cancellation.set()
            else:
                tasks.put(message[1])

    def send(message: object) -> None:
        # A run reports its progress in several threads.
        with sending, suppress(OSError):
            connection.send(message)

    threading.Thread(target=receive, name="receiver", daemon=True).start()
    while True:
        text = tasks.get()
        if not text:
            os._exit(0)
        task = Task.from_json(text)
        send(perform(task, state, lambda seconds, fraction: send((seconds, fraction))))
