"""The kit reports networks that are loaded per session instead of when the stage is built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retalkit import testing
from retalkit.stages import Runtime, StageContext, StageKind
from retalkit.testing import stage_checks

from tests.core.testing.toys import Denoises, Enhances, Syncs, ToySession, ToyStage, problems, spec_of

WEIGHTS = "toy"


class WeightFile:
    """A weight file, and stages that read it when they are built, in ``open``, or in their session."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(200_000))

    def spec(self, session: type[ToySession], when: str, kind: StageKind = StageKind.LIP_SYNCER) -> Any:
        def build(config: Any, runtime: Runtime) -> ToyStage:
            path = runtime.weights.get(WEIGHTS, self.path)

            class Stage(ToyStage):
                def open(self, clip: Any, context: StageContext) -> ToySession:
                    if when == "open":
                        path.read_bytes()
                    return super().open(clip, context)

            class Session(session):  # type: ignore[valid-type, misc]
                def sync(self, batch: Any) -> Any:
                    if when == "session":
                        path.read_bytes()
                    return super().sync(batch)

            if when == "build":
                path.read_bytes()
            return Stage(Session)

        return spec_of(kind, session, build=build)


@pytest.fixture
def file(tmp_path: Path) -> WeightFile:
    return WeightFile(tmp_path / "toy.safetensors")


@pytest.fixture
def declared(file: WeightFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is a checkpoint in the store."""
    runtime = stage_checks._runtime

    def with_weights(exam: Any, found: Any, config: Any) -> Runtime:
        return replace(runtime(exam, found, config), weights={WEIGHTS: stage_checks._link(exam, WEIGHTS, file.path)})

    monkeypatch.setattr(stage_checks, "_runtime", with_weights)


@pytest.mark.parametrize(("when", "expected"), [("build", ""), ("open", "open() raised"), ("session", "sync() raised")])
def test_sessions_must_not_read_declared_weights(
    when: str, expected: str, file: WeightFile, declared: None, tmp_path: Path
) -> None:
    report = testing.check_stage(file.spec(Syncs, when), folder=tmp_path / "kit")
    found = problems(report, "networks")
    assert report.ok == (when == "build"), str(report)
    assert WEIGHTS in found and "FileNotFoundError" in found if expected else not found, str(report)
    assert file.path.exists()


def test_open_must_not_read_the_same_large_file_every_time(file: WeightFile, tmp_path: Path) -> None:
    report = testing.check_stage(file.spec(Syncs, "open"), folder=tmp_path / "kit")
    assert f"open() reads {file.path.resolve()} (200 kB)" in problems(report, "networks"), str(report)


def test_open_of_denoisers_is_checked(file: WeightFile, declared: None, tmp_path: Path) -> None:
    report = testing.check_stage(file.spec(Denoises, "open", StageKind.DENOISER), folder=tmp_path / "kit")
    assert WEIGHTS in problems(report, "networks"), str(report)


def test_small_files_and_the_cache_may_be_read_in_open(file: WeightFile, tmp_path: Path) -> None:
    file.path.write_bytes(bytes(100))

    def read_cache(self: Any, clip: Any, context: StageContext) -> None:
        ToySession.__init__(self, clip, context)
        stored = context.cache.path("plan.npy")
        if stored is None:
            with context.cache.write("plan.npy") as path, path.open("wb") as opened:
                np.save(opened, np.zeros(50_000))
        else:
            np.load(stored)

    session = type("Cached", (Enhances,), {"__init__": read_cache})
    report = testing.check_stage(file.spec(session, "open", StageKind.ENHANCER), folder=tmp_path / "kit")
    assert not problems(report, "networks"), str(report)
