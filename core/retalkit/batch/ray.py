"""Executor that runs tasks on a Ray cluster. Requires the extra ``retalkit[ray]``.

Each worker is a Ray actor, which keeps its stages and networks loaded. All nodes need the same Retalkit installation,
and must reach the inputs, the outputs and the cache under the same paths.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from retalkit.batch.executor import ClosedAtExit, Report, Task, TaskResult, WorkerDiedError
from retalkit.errors import BatchError

_ENVIRONMENT: Final = ("OMP_NUM_THREADS", "PYTHONPATH", "RETALKIT_HOME", "RETALKIT_CACHE", "RETALKIT_OFFLINE")
"""Environment variables that the workers receive from the driver."""
_PORT: Final = 6379
"""Default port of the head node of a Ray cluster."""
_CONNECT_SECONDS: Final = 10.0
_PROGRESS_SECONDS: Final = 2.0
"""Interval in seconds in which the progress of the running tasks is requested."""

_RETRY_SECONDS: Final = 1.0
"""Interval in seconds in which an actor that Ray restarts is asked whether it is ready."""


class RemoteWorker:
    """Class of the actors. Two threads serve an actor: one executes tasks, and one reports progress."""

    def __init__(self) -> None:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from retalkit.batch.worker import WorkerState

        self._state = WorkerState()
        self._progress: tuple[float, float] | None = None

    def ready(self) -> str:
        """Return the id of the node when the actor has started."""
        return str(import_module("ray").get_runtime_context().get_node_id())

    def perform(self, task: str) -> TaskResult:
        """Execute a task, which is given as JSON."""
        from retalkit.batch.worker import perform

        def report(seconds: float, fraction: float) -> None:
            self._progress = seconds, fraction

        self._progress = None
        return perform(Task.from_json(task), self._state, report)

    def progress(self) -> tuple[float, float] | None:
        """Return the last reported time left in seconds and the completed fraction."""
        return self._progress

    def cancel(self) -> None:
        """Ask the running task to stop between two batches."""
        self._state.cancellation.set()


@dataclass(eq=False, slots=True)
class _Waiting:
    task: Task
    report: Report | None
    future: Future[TaskResult]


class RayExecutor(ClosedAtExit):
    """Executor with one Ray actor per worker.

    Ray restarts an actor whose process or node has died, on any node with free resources. A task is not bound to the
    restarted actor: its future raises WorkerDiedError, and the caller submits the task to any worker that is ready.
    """

    def __init__(self, workers: int | None = None, *, address: str | None = None, gpu: bool = False) -> None:
        """Connect to a cluster and create the actors.

        ``workers``: number of actors (default: the cluster's number of CPU cores, or of GPUs if ``gpu`` is set).
        ``address``: see ``retalkit.batch.executors``. Raises BatchError if the cluster cannot be reached.
        """
        check_ray()
        # Ray is optional, so that the type checker does not know its types.
        self._ray: Any = import_module("ray")
        self._errors: Any = import_module("ray.exceptions")
        self._owned = not self._ray.is_initialized()
        if self._owned:
            address = reachable_address(address)
            variables = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            try:
                self._ray.init(
                    address=address,
                    runtime_env={"env_vars": variables},
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    include_dashboard=None if address else False,
                )
            except (ConnectionError, RuntimeError, ValueError, self._errors.RayError) as error:
                reason = " ".join(str(error).split())
                text = f"--address {address}: cannot connect to a Ray cluster: {reason}"
                raise BatchError(text, code="no-cluster") from error
        resources = self._ray.cluster_resources()
        available = int(resources.get("GPU" if gpu else "CPU", 0))
        if available < 1:
            self._shut_down()
            kind = "GPU" if gpu else "CPU core"
            raise BatchError(f"the Ray cluster has no {kind}; add a node, or change `device`", code="no-resources")
        self._workers = workers or available
        actor: Any = self._ray.remote(RemoteWorker).options(
            num_cpus=1, num_gpus=1 if gpu else 0, max_restarts=-1, max_task_retries=0, max_concurrency=2
        )
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._actors: list[Any] = [actor.remote() for _ in range(self._workers)]
        self._idle: deque[Any] = deque()
        self._waiting: deque[_Waiting] = deque()
        self._running: dict[Any, _Waiting] = {}
        self._lost: set[Any] = set()
        self._polled: dict[Any, Any] = {}
        self._closed = False
        self._reason = ""
        for each in self._actors:
            self._await_ready(each)
        self._thread = threading.Thread(target=self._dispatch, name="ray executor", daemon=True)
        self._thread.start()

    @property
    def workers(self) -> int:
        return self._workers

    def submit(self, task: Task, report: Report | None = None) -> Future[TaskResult]:
        future: Future[TaskResult] = Future()
        waiting = _Waiting(task, report, future)
        self._events.put(lambda: self._waiting.append(waiting))
        return future

    def cancel(self) -> None:
        for each in self._actors:
            each.cancel.remote()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._events.put(None)
        self._thread.join()
        for each in self._actors:
            self._ray.kill(each)
        self._shut_down()

    # The following methods run in the dispatcher's thread, except for the callbacks of futures, which only put events
    # into the queue.

    def _dispatch(self) -> None:
        polled = time.monotonic()
        while True:
            if time.monotonic() - polled >= _PROGRESS_SECONDS:
                self._poll_progress()
                polled = time.monotonic()
            try:
                event = self._events.get(timeout=_PROGRESS_SECONDS)
            except queue.Empty:
                continue
            if event is None:
                break
            event()
            while self._idle and self._waiting:
                self._start(self._idle.popleft(), self._waiting.popleft())
            if len(self._lost) == len(self._actors):
                self._fail_all()
        for waiting in (*self._waiting, *self._running.values()):
            waiting.future.set_exception(WorkerDiedError("the executor is closed"))

    def _start(self, actor: Any, waiting: _Waiting) -> None:
        self._running[actor] = waiting
        reference = actor.perform.remote(waiting.task.to_json())
        future: Future[TaskResult] = reference.future()
        future.add_done_callback(lambda done: self._events.put(lambda: self._end(actor, done)))

    def _end(self, actor: Any, done: Future[TaskResult]) -> None:
        waiting = self._running.pop(actor)
        error = done.exception()
        if error is None:
            self._idle.append(actor)
            waiting.future.set_result(done.result())
        elif isinstance(error, self._errors.RayActorError):
            self._await_ready(actor)
            waiting.future.set_exception(WorkerDiedError(f"Ray worker died: {_first_line(error)}"))
        else:
            self._idle.append(actor)
            waiting.future.set_exception(WorkerDiedError(f"Ray task failed: {_first_line(error)}"))

    def _await_ready(self, actor: Any) -> None:
        """Make an actor available when it has started or restarted."""
        reference = actor.ready.remote()
        future: Future[str] = reference.future()
        future.add_done_callback(lambda done: self._events.put(lambda: self._ready(actor, done)))

    def _ready(self, actor: Any, done: Future[str]) -> None:
        error = done.exception()
        if error is None:
            self._lost.discard(actor)
            self._idle.append(actor)
        elif isinstance(error, self._errors.RayActorError):
            self._reason = _first_line(error)
            if getattr(error, "actor_init_failed", False) or _is_dead(error):
                self._lost.add(actor)
            else:
                # Ray is still restarting the actor, or waits for a node with free resources.
                self._events_later(lambda: self._await_ready(actor))
        else:
            self._reason = _first_line(error)
            self._lost.add(actor)

    def _events_later(self, event: Callable[[], None]) -> None:
        timer = threading.Timer(_RETRY_SECONDS, self._events.put, [event])
        timer.daemon = True
        timer.start()

    def _fail_all(self) -> None:
        while self._waiting:
            text = f"no Ray worker can be started: {self._reason}"
            self._waiting.popleft().future.set_exception(BatchError(text, code="no-workers"))

    def _poll_progress(self) -> None:
        """Forward the answers to the last requests, and request the progress of all running tasks."""
        for actor, reference in list(self._polled.items()):
            waiting = self._running.get(actor)
            try:
                progress = self._ray.get(reference, timeout=0)
            except self._errors.GetTimeoutError:
                continue
            except self._errors.RayError:
                progress = None
            del self._polled[actor]
            if waiting is not None and waiting.report is not None and progress is not None:
                waiting.report(*progress)
        for actor in self._running:
            if actor not in self._polled:
                self._polled[actor] = actor.progress.remote()

    def _shut_down(self) -> None:
        if self._owned:
            self._ray.shutdown()


def reachable_address(address: str | None) -> str | None:
    """Return the address of a cluster with the default port if it contains no port. Ray itself would try to connect to
    an unreachable address for many minutes.

    Raises BatchError if nothing listens at the address.
    """
    if address in (None, "auto", "local"):
        return address
    host, _, port = address.rpartition(":") if ":" in address else (address, "", str(_PORT))
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS):
            return f"{host}:{port}"
    except (OSError, ValueError, OverflowError) as error:
        text = f"--address {address}: cannot connect to a Ray cluster: {error}; start Ray there, or check the address"
        raise BatchError(text, code="no-cluster") from error


def check_ray() -> None:
    """Raise BatchError if Ray is not installed."""
    if find_spec("ray") is None:
        raise BatchError("--executor ray: Ray is not installed; install retalkit[ray]", code="missing-package")


def _is_dead(error: BaseException) -> bool:
    """Return whether Ray will not restart the actor."""
    return type(error).__name__ == "ActorDiedError" and "creation task" in str(error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
