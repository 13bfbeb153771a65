"""Execution of a task graph by an executor."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Final, Protocol

from retalkit.batch.executor import Executor, TaskResult, WorkerDiedError
from retalkit.batch.schedule import Node, Schedule
from retalkit.errors import RunCancelledError

ATTEMPTS: Final = 3
"""Default number of workers that may die during a task before the task counts as failed."""
WORKER_DIED: Final = "worker-died"
"""Code of a task that failed because its workers died."""
_CANCELLED: Final = "cancelled"
_TICK: Final = 0.25
"""Interval in seconds in which the engine checks for cancellation and updates the estimate of the time left."""


class NodeEvents(Protocol):
    """Receiver of the events of a graph. All methods are called in the thread of ``run_nodes``."""

    def started(self, node: Node, attempt: int) -> None:
        """Called before a node is submitted. ``attempt`` counts from 1."""
        ...

    def lost_worker(self, node: Node, attempt: int, reason: str) -> None:
        """Called when the worker of a node died and the node will start again."""
        ...

    def ended(self, node: Node, result: TaskResult, attempts: int) -> None:
        """Called when a node has ended, successfully or with an error."""
        ...

    def skipped(self, node: Node, failed: Node, result: TaskResult) -> None:
        """Called when a node cannot start because the node ``failed``, on which it depends, ended with an error."""
        ...

    def tick(self, running: Iterable[tuple[Node, float]]) -> None:
        """Called several times per second with the running nodes and the completed fraction of each."""
        ...


@dataclass(slots=True)
class _Running:
    node: Node
    attempt: int
    fraction: float = 0.0


def run_nodes(
    nodes: Iterable[Node],
    executor: Executor,
    events: NodeEvents,
    *,
    cancellation: threading.Event | None = None,
    attempts: int = ATTEMPTS,
    independent: bool = False,
) -> None:
    """Run all nodes in the order of ``Schedule``.

    A node whose worker dies starts again, until ``attempts`` workers have died. ``independent``: whether a node also
    starts if a node on which it depends has failed, because the dependency only avoids duplicate work.

    Raises RunCancelledError after all running nodes have stopped if ``cancellation`` is set, and BatchError if no
    worker can be started.
    """
    schedule = Schedule(nodes)
    ended: queue.SimpleQueue[tuple[_Running, Future[TaskResult]]] = queue.SimpleQueue()
    running: dict[str, _Running] = {}
    starts: dict[str, int] = {}
    cancelled = False

    def submit(node: Node) -> None:
        starts[node.key] = starts.get(node.key, 0) + 1
        state = _Running(node, starts[node.key])
        running[node.key] = state
        events.started(node, state.attempt)

        def report(seconds: float, fraction: float) -> None:
            state.fraction = fraction

        future = executor.submit(node.task(), report)
        future.add_done_callback(lambda done: ended.put((state, done)))

    def finish(state: _Running, result: TaskResult) -> None:
        node = state.node
        events.ended(node, result, state.attempt)
        if not result.failed or independent:
            schedule.finish(node)
            return
        for lost in schedule.fail(node):
            events.skipped(lost, node, result)

    checked = time.monotonic()
    while schedule.open:
        if cancellation is not None and cancellation.is_set() and not cancelled:
            cancelled = True
            executor.cancel()
        while not cancelled and len(running) < executor.workers and (node := schedule.start()) is not None:
            submit(node)
        if cancelled and not running:
            raise RunCancelledError("the run was cancelled")
        try:
            state, future = ended.get(timeout=_TICK)
        except queue.Empty:
            events.tick([(each.node, each.fraction) for each in running.values()])
            continue
        del running[state.node.key]
        try:
            result = future.result()
        except (WorkerDiedError, CancelledError) as error:
            if cancelled:
                continue
            if state.attempt < attempts:
                events.lost_worker(state.node, state.attempt, str(error))
                schedule.retry(state.node)
                continue
            text = f"{error}" + (f", in {state.attempt} attempts" if state.attempt > 1 else "")
            result = TaskResult(code=WORKER_DIED, message=text)
        if not (cancelled and result.code == _CANCELLED):
            finish(state, result)
        if time.monotonic() - checked > _TICK:
            checked = time.monotonic()
            events.tick([(each.node, each.fraction) for each in running.values()])
