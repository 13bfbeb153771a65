"""Stages and what they share are built once per pool."""

from __future__ import annotations

import threading
from pathlib import Path

import retalkit
from retalkit.config import load
from retalkit.pipeline.plan import plan
from retalkit.plugins import StageSpec
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import FoundStage
from retalkit.stages import ObjectPool, Runtime, StageKind


class Counting:
    """An enhancer that counts how often it and its network are built."""

    built = 0
    networks = 0

    def __init__(self, config: object, runtime: Runtime) -> None:
        Counting.built += 1
        self.network = runtime.shared("network", self._network)

    @staticmethod
    def _network() -> object:
        Counting.networks += 1
        return object()

    def open(self, clip: object, context: object) -> Counting:
        return self

    def enhance(self, batch: object, edits: list[object]) -> list[object]:
        return list(edits)

    def close(self) -> None: ...


def test_second_run_with_the_same_pool_builds_no_stage(moving_head: Path, short_speech: Path, tmp_path: Path) -> None:
    registry = discover()
    spec = StageSpec(
        kind=StageKind.ENHANCER,
        name="counting",
        summary="Counts.",
        build=Counting,
        licence="MIT",
        needs=frozenset({"face:edit"}),
        gives=frozenset({"face:edit"}),
        api=2,
    )
    registry.stages.append(FoundStage(spec, "tests", "0", "tests"))
    config = load(registry, overrides=["enhancers=[counting]"])
    pool = ObjectPool()
    for name in ("first", "second"):
        retalkit.dub(
            moving_head,
            short_speech,
            tmp_path / f"{name}.mp4",
            config=config,
            registry=registry,
            cache=tmp_path / "cache",
            pool=pool,
        )
    assert (Counting.built, Counting.networks) == (1, 1)
    stage = plan(config, registry).enhancers[0]
    assert stage.make(config, pool) is stage.make(config, pool)
    assert stage.make(config, pool) is not stage.make(config, ObjectPool())


def test_runtime_shares_by_key_device_and_precision() -> None:
    pool = ObjectPool()
    runtime = Runtime(pool=pool)
    assert runtime.shared("a", object) is runtime.shared("a", object)
    assert runtime.shared("a", object) is not runtime.shared("b", object)
    assert runtime.shared("a", object) is not Runtime(pool=pool, precision="float16").shared("a", object)
    assert runtime.shared("a", object) is Runtime(pool=pool).shared("a", object)


def test_pool_builds_once_when_threads_compete() -> None:
    pool, built = ObjectPool(), []

    def make() -> object:
        built.append(1)
        return object()

    threads = [threading.Thread(target=pool.get, args=("key", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [1]
