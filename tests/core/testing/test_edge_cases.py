"""The kit reports problems that only occur in a pipeline: shared buffers, long clips, silence, undeclared ports."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retalkit import testing
from retalkit.stages import FaceEdit, StageKind

from tests.core.testing.toys import (
    KIND,
    Denoises,
    Detects,
    Edits,
    Enhances,
    Reconstructs,
    Syncs,
    ToySession,
    ToyStage,
    faulty,
    problems,
    spec_of,
)


def check(base: type[ToySession], folder: Path, **members: Any) -> testing.Report:
    return testing.check_stage(spec_of(KIND[base], faulty(base, **members)), folder=folder)


# ------------------------------------------------------------------ shared buffers


def buffered(self: Any, array: Any) -> Any:
    """Return the array in a buffer of the session that every call reuses."""
    buffers = self.__dict__.setdefault("buffers", {})
    room = 20001 if array.ndim == 1 else 1000
    buffer = buffers.setdefault(array.shape[1:], np.empty((room, *array.shape[1:]), array.dtype))
    buffer[: len(array)] = array
    return buffer[: len(array)]


def buffered_edit(self: Any, edit: Any) -> Any:
    return replace(edit, image=buffered(self, edit.image)) if isinstance(edit, FaceEdit) else edit


def buffered_faces(self: Detects, image: Any) -> Any:
    moved = np.float32(image.mean() / 255)
    return [replace(face, landmarks=buffered(self, face.landmarks + moved)) for face in Detects.faces(self, image)]


BUFFERED: dict[type[ToySession], dict[str, Any]] = {
    Syncs: {"one": lambda self, batch, row: buffered_edit(self, Syncs.one(self, batch, row))},
    Enhances: {
        "better": lambda self, edit: buffered_edit(self, replace(edit, image=255 - edit.image, unrounded_image=None))
    },
    Detects: {"faces": buffered_faces},
    Reconstructs: {"reconstruct": lambda self, faces: buffered(self, Reconstructs.reconstruct(self, faces))},
    Edits: {"edit": lambda self, faces: replace(Edits.edit(self, faces), landmarks=buffered(self, faces.landmarks))},
    Denoises: {"denoise": lambda self, waveform: buffered(self, Denoises.denoise(self, waveform))},
}


@pytest.mark.parametrize("base", BUFFERED, ids=lambda base: base.__name__)
def test_shared_buffers_are_reported(base: type[ToySession], tmp_path: Path) -> None:
    report = check(base, tmp_path, **BUFFERED[base])
    assert "modified the result" in problems(report, "chunks" if base is Denoises else "batches"), str(report)


# ------------------------------------------------------------------ memory


def init_with_analysis(function: Callable[[Any, Any], Any]) -> Any:
    """Return ``__init__`` of a session with extra work on the analysis."""

    def init(self: Any, clip: Any, context: Any) -> None:
        ToySession.__init__(self, clip, context)
        function(self, clip.analysis)

    return init


def all_frames(analysis: Any) -> list[Any]:
    return [image for _, image in analysis.source.read(range(analysis.source.info.frame_count))]


def keep_all_frames(self: Any, analysis: Any) -> None:
    self.kept = all_frames(analysis)


def read_all_frames(self: Any, analysis: Any) -> None:
    np.stack(all_frames(analysis)).mean()


def sync_with_all_frames(self: Syncs, batch: Any) -> Any:
    all_frames(self.clip.analysis)
    return Syncs.sync(self, batch)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"__init__": init_with_analysis(keep_all_frames)}, "memory retained by open()"),
        ({"__init__": init_with_analysis(read_all_frames)}, "peak memory of open()"),
        ({"sync": sync_with_all_frames}, "peak memory of sync()"),
    ],
)
def test_memory_that_grows_with_the_clip_is_reported(members: dict[str, Any], expected: str, tmp_path: Path) -> None:
    report = check(Syncs, tmp_path, **members)
    assert expected in problems(report, "long_clip"), str(report)


def test_peak_of_one_measurement_is_not_reported(tmp_path: Path) -> None:
    """The peaks of two threads may coincide in one of several measurements."""
    opened: list[int] = []

    def init(self: Any, analysis: Any) -> None:
        opened.append(analysis.source.info.frame_count)
        if opened.count(1600) == 1 and opened[-1] == 1600:
            read_all_frames(self, analysis)

    report = check(Syncs, tmp_path, __init__=init_with_analysis(init))
    assert opened.count(1600) == opened.count(800) == 2
    assert not problems(report, "long_clip"), str(report)


# ------------------------------------------------------------------ build


def build_with(before: Callable[[], Any]) -> Callable[[Any, Any], ToyStage]:
    """Return a build function with a side effect at the first call."""
    done: list[bool] = []

    def build(config: Any, runtime: Any) -> ToyStage:
        if not done:
            done.append(True)
            before()
        return ToyStage(Syncs)

    return build


def connect() -> None:
    with suppress(OSError):
        socket.create_connection(("192.0.2.1", 80), timeout=0.1)


@pytest.mark.parametrize(
    ("before", "name", "expected"),
    [
        (connect, "network", "192.0.2.1"),
        (lambda: sys.stdout.write("downloading"), "output", "downloading"),
        (lambda: Path("weights.bin").write_text("x"), "writes", "weights.bin"),
        (lambda: os.chdir("/"), "process", "build changed the working directory to /"),
    ],
)
def test_side_effects_of_build_are_reported(before: Any, name: str, expected: str, tmp_path: Path) -> None:
    report = testing.check_stage(spec_of(StageKind.LIP_SYNCER, Syncs, build=build_with(before)), folder=tmp_path)
    assert expected in problems(report, name), str(report)


def test_side_effects_are_reported_after_an_exception(tmp_path: Path) -> None:
    build = build_with(lambda: socket.create_connection(("192.0.2.1", 80), timeout=0.1))
    report = testing.check_stage(spec_of(StageKind.LIP_SYNCER, Syncs, build=build), folder=tmp_path)
    assert "192.0.2.1" in problems(report, "network") and problems(report, "build"), str(report)


# ------------------------------------------------------------------ speech and positions


def init_with_speech(function: Callable[[Any, Any, Any], Any]) -> Any:
    """Return ``__init__`` of a lip syncer with extra work on the timeline and the speech."""

    def init(self: Any, clip: Any, context: Any) -> None:
        ToySession.__init__(self, clip, context)
        function(self, clip.timeline, clip.speech)

    return init


def divide_by_loudest(self: Any, timeline: Any, speech: Any) -> None:
    loudest = np.abs(speech.waveform(0, 0.5)).max()
    assert 1 / float(loudest) > 0


def max_of_active(self: Any, timeline: Any, speech: Any) -> None:
    active = speech.activity(timeline.times(0, timeline.count))
    active[active > 0.5].max()


def read_to_end_of_output(self: Any, timeline: Any, speech: Any) -> None:
    if speech.duration < timeline.duration - 0.1:
        raise IndexError("after the end")


def mouth_at_source_time(self: Syncs, batch: Any, row: int) -> Any:
    edit = Syncs.one(self, batch, row)
    at = 0.04 * float(batch.faces.frames.indexes[row])
    loud = self.clip.speech.waveform(at - 0.02, at + 0.02)
    image = np.full((20, 30, 3), np.abs(loud).max() * 200, np.uint8)
    return replace(edit, image=image) if isinstance(edit, FaceEdit) else edit


def fail_after_the_source(self: Syncs, batch: Any, row: int) -> Any:
    assert self.clip.analysis.landmarks(int(batch.positions[row]), int(batch.positions[row]) + 1) is not None
    return Syncs.one(self, batch, row)


@pytest.mark.parametrize(
    ("members", "name", "expected"),
    [
        ({"__init__": init_with_speech(divide_by_loudest)}, "silence", "for silent speech"),
        ({"__init__": init_with_speech(max_of_active)}, "silence", "zero-size array"),
        ({"__init__": init_with_speech(read_to_end_of_output)}, "short_speech", "for one second of speech"),
        ({"one": mouth_at_source_time}, "short_speech", "both positions display the same source frame"),
        ({"one": fail_after_the_source}, "end", "landmarks 48 to 49 requested, but only 48"),
    ],
)
def test_unusual_speeches_and_the_end_are_checked(
    members: dict[str, Any], name: str, expected: str, tmp_path: Path
) -> None:
    report = check(Syncs, tmp_path, **members)
    assert expected in problems(report, name), str(report)


# ------------------------------------------------------------------ undeclared ports


def test_undeclared_landmarks_have_any_scheme(tmp_path: Path) -> None:
    members = {"sync": lambda self, batch: batch.faces.landmarks[:, 470] is None or Syncs.sync(self, batch)}
    assert "landmarks in the scheme ibug68" in problems(check(Syncs, tmp_path / "bad", **members), "undeclared")
    needs = frozenset({"frames", "landmarks:mesh478"})
    named = testing.check_stage(
        spec_of(StageKind.LIP_SYNCER, faulty(Syncs, **members), needs=needs), folder=tmp_path / "good"
    )
    assert named.ok, str(named)


def test_undeclared_coefficients_are_missing(tmp_path: Path) -> None:
    report = check(Enhances, tmp_path, enhance=lambda self, batch, edits: batch.faces.coefficients[:, 0])
    (problem,) = (problem for problem in report.problems if problem.check == "result")
    assert "contains no `coefficients:` port" in problem.contract, str(report)


def test_incompatible_contract_version_is_not_built(tmp_path: Path) -> None:
    def build(config: Any, runtime: Any) -> Any:
        raise AssertionError("built")

    report = testing.check_stage(spec_of(StageKind.LIP_SYNCER, Syncs, build=build, api=7), folder=tmp_path)
    assert "made for version 7" in report.unavailable and not report.ok
    assert not problems(report, "build"), str(report)


# ------------------------------------------------------------------ seeds and the process


def refuse_seed(self: Any, analysis: Any) -> None:
    assert self.context.seed == 0


def write_next_to_cache(self: Any, analysis: Any) -> None:
    with self.context.cache.write("x") as path:
        path.write_text("x")
        (path.parent.parent / "outside.txt").write_text("x")


def set_a_variable(self: Any, analysis: Any) -> None:
    os.environ["RETALKIT_KIT_TEST"] = "1"


@pytest.mark.parametrize(
    ("function", "name", "expected"),
    [
        (refuse_seed, "seed", "for a StageContext.seed other than 0"),
        (lambda self, analysis: os.chdir("/"), "process", "open() changed the working directory to /"),
        (set_a_variable, "process", "open() changed the environment variable RETALKIT_KIT_TEST"),
        (lambda self, analysis: len(sys.argv), "command_line", "read the command line"),
        (write_next_to_cache, "writes", "outside.txt"),
    ],
)
def test_seed_and_process_problems_are_reported(function: Any, name: str, expected: str, tmp_path: Path) -> None:
    before = Path.cwd()
    report = check(Syncs, tmp_path, __init__=init_with_analysis(function))
    assert expected in problems(report, name), str(report)
    assert Path.cwd() == before and "RETALKIT_KIT_TEST" not in os.environ


def test_seeded_noise_must_not_depend_on_batches(tmp_path: Path) -> None:
    def sync(self: Syncs, batch: Any) -> Any:
        noise = np.random.default_rng(self.context.seed).integers(200, size=len(batch.positions))
        results = Syncs.sync(self, batch)
        if not self.context.seed:
            return results
        return [replace(e, image=e.image + np.uint8(n)) for e, n in zip(results, noise, strict=True)]

    assert "differ" in problems(check(Syncs, tmp_path, sync=sync), "seed")


# ------------------------------------------------------------------ specs of wrong types


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"summary": None}, "summary is None (NoneType)"),
        ({"needs": ["frames"]}, "needs is ['frames'] (list)"),
        ({"gives": frozenset({7})}, "gives is frozenset({7})"),
        ({"requires": "torch"}, "requires is 'torch' (str)"),
        ({"kind": 3}, "kind is 3 (int)"),
        ({"config": dict}, "config is <class 'dict'>"),
        ({"build": None}, "build is None"),
        ({"api": "1"}, "api is '1' (str)"),
    ],
)
def test_wrong_types_in_a_spec_are_reported(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    spec = replace(spec_of(StageKind.LIP_SYNCER, Syncs), **changes)
    report = testing.check_stage(spec, folder=tmp_path)
    assert expected in problems(report, "spec") and not report.ok, str(report)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ("no_such_module:Stage", "importing no_such_module raised ModuleNotFoundError"),
        (lambda config, runtime: object(), "the stage (object) has no method open()"),
        (lambda config, runtime: ToyStage(ToySession), "the session (ToySession) has no method sync()"),
    ],
)
def test_missing_methods_are_reported(build: Any, expected: str, tmp_path: Path) -> None:
    report = testing.check_stage(spec_of(StageKind.LIP_SYNCER, Syncs, build=build), folder=tmp_path)
    assert expected in str(report)
