"""Executor on Ray: a fake Ray shows the handling of lost actors, and a real cluster of two nodes loses a node."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest
from retalkit.batch.executor import Task, TaskResult, WorkerDiedError
from retalkit.batch.executors import open_executor
from retalkit.errors import BatchError

from tests.core.batch import fake_ray
from tests.core.batch.fake_ray import ActorClass, FakeRay, RayActorError


class Instance:
    """Actor whose task ``lost`` ends with the death of the actor."""

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.cancelled = threading.Event()

    def ready(self) -> str:
        return "node"

    def perform(self, text: str) -> TaskResult:
        label = Task.from_json(text).label
        self.tasks.append(label)
        if label == "lost":
            raise RayActorError("the node\nof the actor died")
        if label == "long":
            self.cancelled.wait(30)
            return TaskResult(code="cancelled", message="cancelled")
        return TaskResult(value={"label": label})

    def progress(self) -> tuple[float, float]:
        return 4.0, 0.5

    def cancel(self) -> None:
        self.cancelled.set()


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    ray = FakeRay(2, Instance)
    given: dict[str, object] = ray.options
    monkeypatch.setattr(ray, "options", lambda **options: given.update(options) or ActorClass(ray), raising=False)
    ray.given = given  # type: ignore[attr-defined]
    errors = ModuleType("ray.exceptions")
    for name in ("RayError", "RayActorError", "GetTimeoutError"):
        setattr(errors, name, getattr(fake_ray, name))
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.exceptions", errors)
    monkeypatch.setattr("retalkit.batch.ray._PROGRESS_SECONDS", 0.05)
    monkeypatch.setattr("retalkit.batch.ray._RETRY_SECONDS", 0.05)
    return ray


def task(label: str) -> Task:
    return Task(function="a:b", payload={}, label=label)


def test_tasks_of_lost_actors_fail_and_restarted_actors_are_used(ray: FakeRay) -> None:
    with open_executor("ray") as executor:
        assert executor.workers == 2
        results = [executor.submit(task(str(number))) for number in range(5)]
        assert [each.result().value["label"] for each in results] == list("01234")
        lost = executor.submit(task("lost"))
        with pytest.raises(WorkerDiedError, match="the node"):
            lost.result()
        # The lost actor is not ready at once, so that the other one executes the tasks.
        results = [executor.submit(task(f"after {number}")) for number in range(3)]
        assert [each.result(timeout=30).value["label"] for each in results] == ["after 0", "after 1", "after 2"]
        limit = time.monotonic() + 30
        while any(actor.unavailable for actor in ray.actors) and time.monotonic() < limit:
            time.sleep(0.02)
        assert not any(actor.unavailable for actor in ray.actors), "the lost actor is asked until it is ready"
    assert ray.given["max_restarts"] == -1 and ray.given["max_task_retries"] == 0  # type: ignore[attr-defined]
    assert ray.killed == 2 and not ray.running


def test_progress_and_cancellation(ray: FakeRay) -> None:
    reports: list[tuple[float, float]] = []
    with open_executor("ray", 1) as executor:
        future = executor.submit(task("long"), lambda seconds, fraction: reports.append((seconds, fraction)))
        limit = time.monotonic() + 30
        while not reports and time.monotonic() < limit:
            time.sleep(0.02)
        executor.cancel()
        assert future.result(timeout=30).code == "cancelled"
    assert reports[0] == (4.0, 0.5)


def test_unusable_clusters(ray: FakeRay) -> None:
    with pytest.raises(BatchError, match="no cluster at this address") as error:
        open_executor("ray", address="auto")
    assert error.value.code == "no-cluster"
    for address in ("127.0.0.1:1", "127.0.0.1:port"):
        with pytest.raises(BatchError, match="127.0.0.1") as error:
            open_executor("ray", address=address)
        assert error.value.code == "no-cluster"
    with pytest.raises(BatchError, match="GPU") as error:
        open_executor("ray", device="cuda")
    assert error.value.code == "no-resources" and not ray.running
    for name, address, code in (("slurm", None, "unknown-executor"), ("local", "auto", "unused-option")):
        with pytest.raises(BatchError) as error:
            open_executor(name, address=address)
        assert error.value.code == code


def test_missing_ray_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retalkit.batch.ray.find_spec", lambda name: None)
    with pytest.raises(BatchError, match=r"retalkit\[ray\]") as error:
        open_executor("ray")
    assert error.value.code == "missing-package"


@pytest.mark.slow
def test_killed_node_loses_nothing(moving_head: Path, short_speech: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray clusters need the extra: pip install 'retalkit[ray]'")
    from ray.cluster_utils import Cluster
    from retalkit.batch.jobs import Job
    from retalkit.batch.local import LocalExecutor
    from retalkit.batch.ray import RayExecutor
    from retalkit.batch.run import BatchOptions, run_batch
    from retalkit.config import load
    from retalkit.observer import SilentObserver
    from retalkit.plugins.discovery import discover

    registry = discover()

    def jobs(folder: Path) -> list[Job]:
        return [
            Job(
                output=folder / f"{number}.mp4",
                video=moving_head,
                speech=short_speech,
                config=load(registry, overrides=["provenance.sign=false", f"output.crf={20 + number}"]),
            )
            for number in range(4)
        ]

    memory = 80 * 2**20
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": memory})
    node = cluster.add_node(num_cpus=1, object_store_memory=memory)
    killed = threading.Event()

    class Observer(SilentObserver):
        def advanced(self, step: str, done: int) -> None:
            if done == 1 and not killed.is_set():
                killed.set()
                cluster.remove_node(node, allow_graceful=False)

    try:
        remote = run_batch(
            jobs(tmp_path / "ray"),
            BatchOptions(results=tmp_path / "ray-results", cache=tmp_path / "ray-cache"),
            registry,
            lambda: RayExecutor(address=cluster.address),
            Observer(),
        )
    finally:
        cluster.shutdown()
    options = BatchOptions(results=tmp_path / "local-results", cache=tmp_path / "local-cache")
    local = run_batch(jobs(tmp_path / "local"), options, registry, lambda: LocalExecutor(2), SilentObserver())
    assert killed.is_set() and remote.counts["done"] == local.counts["done"] == 4
    for number in range(4):
        name = f"{number}.mp4"
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
