"""Worker processes: state, errors, deaths, cancellation, and the end of the driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from retalkit.batch import local
from retalkit.batch.engine import WORKER_DIED, run_nodes
from retalkit.batch.executor import Task, TaskResult, WorkerDiedError
from retalkit.batch.executors import open_executor
from retalkit.batch.local import LocalExecutor
from retalkit.batch.schedule import Node
from retalkit.batch.worker import TaskContext
from retalkit.errors import BatchError, InputError, RunCancelledError

REPOSITORY = Path(__file__).resolve().parents[3]


def work(payload: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Task function of these tests."""
    kind = payload["kind"]
    if kind == "error":
        raise InputError("clip.mp4: unreadable\nfile", code="unreadable-file")
    if kind == "bug":
        raise ZeroDivisionError("in a plugin")
    if kind == "killed" and not Path(payload["mark"]).exists():
        Path(payload["mark"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "always killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "long":
        Path(payload["mark"]).write_text(str(os.getpid()))
        context.observer.time_left(8.0, 0.25)
        if context.state.cancellation.wait(60):
            raise RunCancelledError("cancelled")
    sys.stdout.write("printed\n")
    os.system("echo by a child")
    count = context.state.pool.get("counter", lambda: [0])
    count[0] += 1
    return {"count": count[0], "pid": os.getpid()}


def task(kind: str, **payload: object) -> Task:
    log = payload.pop("log", None)
    return Task(function=f"{__name__}:work", payload={"kind": kind, **payload}, log=log)  # type: ignore[arg-type]


class Events:
    def __init__(self) -> None:
        self.results: dict[str, TaskResult] = {}
        self.lost: list[str] = []
        self.skips: list[str] = []
        self.fractions: list[float] = []

    def started(self, node: Node, attempt: int) -> None: ...

    def lost_worker(self, node: Node, attempt: int, reason: str) -> None:
        self.lost.append(reason)

    def ended(self, node: Node, result: TaskResult, attempts: int) -> None:
        self.results[node.key] = result

    def skipped(self, node: Node, failed: Node, result: TaskResult) -> None:
        self.skips.append(node.key)

    def tick(self, running: Iterable[tuple[Node, float]]) -> None:
        self.fractions += [fraction for _, fraction in running]


def test_worker_keeps_its_state_and_returns_errors(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "task.txt"
    with LocalExecutor(1) as executor:
        first, second = (executor.submit(task("count", log=log)).result() for _ in range(2))
        error, bug = (executor.submit(task(kind)).result() for kind in ("error", "bug"))
        assert len(executor.processes()) == 1
    assert (first.value["count"], second.value["count"]) == (1, 2)
    assert first.value["pid"] == second.value["pid"] != os.getpid()
    assert log.read_text() == "printed\nby a child\n"
    assert (error.code, error.message, error.is_user_error) == ("unreadable-file", "clip.mp4: unreadable file", True)
    assert (bug.code, bug.is_user_error) == ("internal-error", False) and "ZeroDivisionError" in bug.message
    with LocalExecutor(1, fresh=True) as executor:
        assert [executor.submit(task("count")).result().value["count"] for _ in range(2)] == [1, 1]


def test_killed_worker_is_replaced_and_its_task_runs_again(tmp_path: Path) -> None:
    nodes = [
        Node(key="once", task=lambda: task("killed", mark=str(tmp_path / "mark"))),
        Node(key="always", task=lambda: task("always killed")),
        Node(key="after", task=lambda: task("count"), after=["always"]),
        Node(key="other", task=lambda: task("count")),
    ]
    events = Events()
    with LocalExecutor(2) as executor:
        run_nodes(nodes, executor, events)
    assert {key: result.code for key, result in events.results.items()} == {
        "once": "",
        "other": "",
        "always": WORKER_DIED,
    }
    assert "SIGKILL" in events.results["always"].message
    assert len(events.lost) == 3 and events.skips == ["after"]


def test_cancelled_tasks_stop_between_batches(tmp_path: Path) -> None:
    mark, cancellation = tmp_path / "mark", Event()

    class Cancelling(Events):
        def tick(self, running: Iterable[tuple[Node, float]]) -> None:
            super().tick(running)
            if mark.exists() and 0.25 in self.fractions:
                cancellation.set()

    events = Cancelling()
    nodes = [Node(key=name, task=lambda: task("long", mark=str(mark))) for name in ("one", "two")]
    with LocalExecutor(1) as executor, pytest.raises(RunCancelledError):
        run_nodes(nodes, executor, events, cancellation=cancellation)
    assert not events.results


DRIVER = """
import sys
from tests.core.batch.test_local_executor import task
from retalkit.batch import local
from retalkit.batch.executors import open_executor
from retalkit.batch.local import LocalExecutor

if __name__ == "__main__":
    LocalExecutor(1).submit(task("long", mark=sys.argv[1])).result()
"""


def test_worker_ends_with_its_killed_driver(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    driver = subprocess.Popen([sys.executable, str(tmp_path / "driver.py"), str(mark)], env=environment)
    limit = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()) and time.monotonic() < limit:
        time.sleep(0.05)
    worker = int(mark.read_text())
    driver.kill()
    driver.wait()
    while time.monotonic() < limit and is_running(worker):
        time.sleep(0.05)
    assert not is_running(worker)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_closed_executor_ends_running_tasks(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with LocalExecutor(1) as executor:
        future = executor.submit(task("long", mark=str(mark)))
        while not mark.exists():
            time.sleep(0.02)
    with pytest.raises(WorkerDiedError):
        future.result()


def test_processes_that_cannot_start_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(local, "_Process", fail)
    with LocalExecutor(3) as executor, pytest.raises(BatchError, match=r"worker 1 of 3: Resource.*--jobs") as info:
        executor.submit(Task(function="a:b", payload={})).result()
    assert info.value.code == "worker-start"
    with pytest.raises(BatchError, match="--jobs 100000"):
        open_executor("local", 100000)
