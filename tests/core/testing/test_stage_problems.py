"""The kit reports violations of contracts, and passes valid stages."""

from __future__ import annotations

import random
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import Field
from retalkit import testing
from retalkit.plugins import StageConfig
from retalkit.plugins.registry import FoundStage
from retalkit.stages import CONTRACT_VERSIONS, DigitalSourceType, FaceEdit, PassedThrough, StageKind

from tests.core.testing.toys import (
    KIND,
    VALID,
    Denoises,
    Detects,
    Edits,
    Enhances,
    Reconstructs,
    Syncs,
    ToySession,
    faulty,
    problems,
    spec_of,
)

NEXT_VERSION = CONTRACT_VERSIONS["enhancer"].current + 1


@pytest.mark.parametrize("kind", list(StageKind))
def test_valid_stage_of_every_kind_passes(kind: StageKind, tmp_path: Path) -> None:
    spec = spec_of(kind, VALID[kind])
    report = testing.check_stage(spec, folder=tmp_path)
    assert report.ok, str(report)
    assert set(report.passed) == set(testing.check_names(spec))
    assert report.seconds
    report.raise_if_broken()


# ------------------------------------------------------------------ side effects


def sync_and(function: Any) -> Any:
    """Return a ``sync`` with a side effect."""

    def sync(self: Syncs, batch: Any) -> Any:
        function(self)
        return Syncs.sync(self, batch)

    return sync


OUTSIDE = Path(tempfile.gettempdir()) / "retalkit_kit_outside.txt"


def fail_at_second_close(self: Any) -> None:
    if getattr(self, "closed", False):
        raise RuntimeError("closed twice")
    self.closed = True


KEPT: list[Any] = []


@pytest.mark.parametrize(
    ("members", "check", "expected"),
    [
        ({"sync": sync_and(lambda self: sys.stdout.write("hello"))}, "output", "hello"),
        ({"sync": sync_and(lambda self: OUTSIDE.write_text("x"))}, "writes", str(OUTSIDE)),
        ({"sync": sync_and(lambda self: Path("here.txt").write_text("x"))}, "writes", "here.txt"),
        ({"sync": sync_and(lambda self: sys.argv[1:])}, "command_line", "read the command line"),
        (
            {"sync": sync_and(lambda self: np.random.rand())},
            "generators",
            "process-wide random generator of numpy.random",
        ),
        ({"sync": sync_and(lambda self: random.random())}, "generators", "process-wide random generator of random"),
        ({"close": fail_at_second_close}, "close", "a second call of close() raised RuntimeError: closed twice"),
        (
            {"sync": sync_and(lambda self: KEPT.append(np.zeros((4, 288, 336, 3), np.uint8)))},
            "memory",
            "memory grows by",
        ),
        ({"sync": sync_and(lambda self: self.context.cache.folder)}, "result", "has no attribute 'folder'"),
    ],
)
def test_side_effects_are_reported(members: dict[str, Any], check: str, expected: str, tmp_path: Path) -> None:
    KEPT.clear()
    report = testing.check_lip_syncer(spec_of(StageKind.LIP_SYNCER, faulty(Syncs, **members)), folder=tmp_path)
    OUTSIDE.unlink(missing_ok=True)
    KEPT.clear()
    assert expected in problems(report, check), str(report)
    with pytest.raises(AssertionError, match="lip_syncer 'toy'"):
        report.raise_if_broken()


def test_network_access_is_blocked_and_reported(tmp_path: Path) -> None:
    def sync(self: Syncs, batch: Any) -> Any:
        with suppress(OSError):
            socket.create_connection(("192.0.2.1", 80), timeout=0.1)
        return Syncs.sync(self, batch)

    report = testing.check_stage(spec_of(StageKind.LIP_SYNCER, faulty(Syncs, sync=sync)), folder=tmp_path)
    assert "192.0.2.1" in problems(report, "network")


# ------------------------------------------------------------------ repeatable results


def with_noise(source: Any) -> Any:
    """Return ``one`` with pixels from a source of random numbers."""

    def one(self: Syncs, batch: Any, row: int) -> Any:
        edit = Syncs.one(self, batch, row)
        return replace(edit, image=edit.image + np.uint8(source())) if isinstance(edit, FaceEdit) else edit

    return one


def with_batch_size(self: Syncs, batch: Any, row: int) -> Any:
    edit = Syncs.one(self, batch, row)
    more = np.uint8(len(batch.positions))
    return replace(edit, image=edit.image + more) if isinstance(edit, FaceEdit) else edit


def with_call_count(self: Syncs, batch: Any, row: int) -> Any:
    self.served = getattr(self, "served", 0) + 1
    edit = Syncs.one(self, batch, row)
    return replace(edit, image=edit.image + np.uint8(self.served)) if isinstance(edit, FaceEdit) else edit


def with_cache_state(self: Syncs, batch: Any, row: int) -> Any:
    edit = Syncs.one(self, batch, row)
    if not hasattr(self, "known"):
        self.known = self.context.cache.path("mark") is not None
        with self.context.cache.write("mark") as path:
            path.write_text("x")
    return replace(edit, image=edit.image + np.uint8(self.known)) if isinstance(edit, FaceEdit) else edit


@pytest.mark.parametrize(
    ("one", "check", "expected"),
    [
        (
            with_noise(lambda: np.random.default_rng().integers(200)),
            "repeatable",
            "two sessions with identical input return different results",
        ),
        (
            with_noise(lambda: np.random.get_state()[1][5] % 250),
            "seed",
            "the state of the process-wide random generators",
        ),
        (
            with_batch_size,
            "batches",
            "single-frame batches and one batch of the same frames return different results: image of frame 0",
        ),
        (with_call_count, "start", "a session that starts with frame 4 returns different results"),
        (with_cache_state, "resume", "a second session with the first session's cache returns different results"),
    ],
)
def test_varying_results_are_reported(one: Any, check: str, expected: str, tmp_path: Path) -> None:
    report = testing.check_stage(spec_of(StageKind.LIP_SYNCER, faulty(Syncs, one=one)), folder=tmp_path)
    assert expected in problems(report, check), str(report)


def test_modified_input_is_reported(tmp_path: Path) -> None:
    def sync(self: Syncs, batch: Any) -> Any:
        batch.faces.frames.images[:1, :1] = 7
        return Syncs.sync(self, batch)

    report = testing.check_stage(spec_of(StageKind.LIP_SYNCER, faulty(Syncs, sync=sync)), folder=tmp_path)
    assert "sync() modified its input: faces.frames.images" in problems(report, "inputs")


# ------------------------------------------------------------------ results of each kind


def with_field(name: str, value: Any) -> Any:
    """Return ``one`` whose edits have another value of one field."""

    def one(self: Syncs, batch: Any, row: int) -> Any:
        edit = Syncs.one(self, batch, row)
        return replace(edit, **{name: value(edit)}) if isinstance(edit, FaceEdit) else edit

    return one


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (with_field("image", lambda e: e.image.astype(np.float32)), "image of frame 0 is float32 [20, 30, 3]"),
        (with_field("mask", lambda e: e.mask * 3), "mask of frame 0 ranges from 1.5 to 1.5, expected values in [0, 1]"),
        (with_field("mask", lambda e: e.mask[1:]), "mask of frame 0 is float32 [19, 30]"),
        (with_field("matrix", lambda e: e.matrix * 0), "matrix of frame 0 cannot be inverted"),
        (with_field("unrounded_image", lambda e: np.ones((20, 30, 3), np.float32)), "differs from the image by up to"),
        (with_field("confidence", lambda e: 0.5), "confidence of frame 0 is 0.50, but reason is empty"),
        (with_field("confidence", lambda e: 1.5), "confidence of frame 0 ranges from 1.5"),
        (lambda self, batch, row: PassedThrough(""), "frame 0 was passed through without a reason"),
        (lambda self, batch, row: None, "returned NoneType for frame 0"),
    ],
)
def test_invalid_edits_are_reported(one: Any, expected: str, tmp_path: Path) -> None:
    report = testing.check_stage(spec_of(StageKind.LIP_SYNCER, faulty(Syncs, one=one)), folder=tmp_path)
    assert expected in problems(report, "result"), str(report)


def edit_without_face(self: Syncs, batch: Any, row: int) -> Any:
    image = np.zeros((4, 4, 3), np.uint8)
    return FaceEdit(image, np.ones((4, 4), np.float32), np.array([[1, 0, 0], [0, 1, 0]], np.float32))


def change_edit(result: Any, change: Any) -> Any:
    return change(result) if isinstance(result, FaceEdit) else result


def invert_translation(edit: Any) -> Any:
    """Return the edit with a frequent mistake: the inverse matrix."""
    matrix = edit.matrix.copy()
    matrix[:, 2] *= -1
    return replace(edit, matrix=matrix)


def face_with(name: str, value: Any) -> Any:
    def faces(self: Detects, image: Any) -> Any:
        return [replace(face, **{name: value(face)}) for face in Detects.faces(self, image)]

    return faces


def partly_nan(self: Reconstructs, faces: Any) -> Any:
    rows = Reconstructs.reconstruct(self, faces)
    rows[:, 0] = np.nan
    return rows


CASES: list[tuple[type[ToySession], dict[str, Any], str, str]] = [
    (Syncs, {"one": edit_without_face}, "no_face", "returned an edit for frame 0, which has no face"),
    (
        Syncs,
        {"one": lambda self, b, row: change_edit(Syncs.one(self, b, row), invert_translation)},
        "result",
        "the edit of frame 0 covers x -",
    ),
    (Enhances, {"better": lambda self, edit: invert_translation(edit)}, "result", "the edit of frame 0 covers x -"),
    (Syncs, {"sync": lambda self, batch: Syncs.sync(self, batch)[:1]}, "result", "returned 1 results for 2 frames"),
    (Syncs, {"sync": lambda self, b: Syncs.sync(self, b) if len(b.positions) else 1 / 0}, "empty", "ZeroDivisionError"),
    (
        Syncs,
        {"sync": lambda self, b: np.stack([b.faces.frames.images[:, 200]]) is None or Syncs.sync(self, b)},
        "odd_size",
        "raised IndexError",
    ),
    (
        Syncs,
        {"sync": lambda self, b: b.faces.frames.images[:, 1] is None or Syncs.sync(self, b)},
        "one_pixel",
        "raised IndexError",
    ),
    (
        Syncs,
        {"__init__": lambda self, *given: (ToySession.__init__(self, *given), given[0].analysis.landmarks(0, 2))[0]},
        "one_frame",
        "landmarks 0 to 2 requested, but only 1",
    ),
    (Detects, {"faces": face_with("box", lambda f: f.box / 1000)}, "result", "fractions of the frame size"),
    (Detects, {"faces": face_with("box", lambda f: f.box[::-1].copy())}, "result", "return left, top, right, bottom"),
    (
        Detects,
        {"faces": face_with("score", lambda f: 7.0)},
        "result",
        "score ranges from 7 to 7, expected values in [0, 1]",
    ),
    (Detects, {"faces": face_with("score", lambda f: "1")}, "result", "score has type str"),
    (Detects, {"faces": face_with("landmarks", lambda f: f.landmarks[:, :2])}, "result", "landmarks (points5) is"),
    (Detects, {"faces": face_with("landmarks", lambda f: f.landmarks * np.nan)}, "result", "NaN or infinite"),
    (Detects, {"detect": lambda self, frames: [[]]}, "result", "returned 1 results for 2 frames"),
    (Detects, {"detect": lambda self, frames: None}, "result", "did not return a list of lists"),
    (
        Reconstructs,
        {"reconstruct": lambda self, f: np.nan_to_num(Reconstructs.reconstruct(self, f))},
        "result",
        "frame 3 has no face, but its coefficients are not NaN",
    ),
    (Reconstructs, {"reconstruct": partly_nan}, "result", "only some coefficients of frame 0 are NaN"),
    (
        Reconstructs,
        {"reconstruct": lambda self, f: Reconstructs.reconstruct(self, f).astype(np.float64)},
        "result",
        "is float64 [2, 12], expected float32 [T, C]",
    ),
    (
        Edits,
        {"edit": lambda self, f: replace(Edits.edit(self, f), images=None)},
        "result",
        "returned no images, but reference:image was requested",
    ),
    (
        Edits,
        {"edit": lambda self, f: replace(Edits.edit(self, f), landmarks=f.landmarks[..., :2])},
        "result",
        "landmarks is float32 [2, 478, 2], expected float32 [T, N, 3]",
    ),
    (
        Edits,
        {"edit": lambda self, f: replace(Edits.edit(self, f), landmarks=np.nan_to_num(f.landmarks))},
        "result",
        "frame 3 has no face, but its landmarks are not NaN",
    ),
    (Edits, {"edit": lambda self, f: f}, "result", "edit() returned FaceBatch"),
    (
        Edits,
        {"edit": lambda self, f: Edits.edit(self, f) if (np.diff(f.frames.indexes) >= 0).all() else 1 / 0},
        "order",
        "raised ZeroDivisionError",
    ),
    (
        Enhances,
        {"enhance": lambda self, b, edits: [e for e in edits if isinstance(e, FaceEdit)]},
        "result",
        "results for 6 frames",
    ),
    (Enhances, {"better": lambda self, e: PassedThrough("unknown")}, "result", "replaced the edit of frame 0"),
    (
        Enhances,
        {"enhance": lambda self, b, edits: [edit_without_face(self, b, 0) for _ in edits]},
        "result",
        "returned an edit for frame 3, which the lip syncer passed through",
    ),
    (Denoises, {"denoise": lambda self, w: w[:-1]}, "length", "but the output after finish() has"),
    (Denoises, {"denoise": lambda self, w: w.astype(np.float64)}, "result", "denoise() is float64"),
    (Denoises, {"denoise": lambda self, w: w * np.float32(9)}, "result", "expected values in [-1, 1]"),
    (Denoises, {"denoise": lambda self, w: w + np.float32(0.01)}, "silence", "silent input produces"),
    (
        Denoises,
        {"denoise": lambda self, w: w / max(float(np.abs(w).max(initial=0)), 1e-3)},
        "chunks",
        "different chunk sizes produce different results",
    ),
    (Denoises, {"finish": lambda self: np.zeros(4, np.float32)}, "length", "but the output after finish() has"),
    (Denoises, {"denoise": lambda self, w: np.roll(w, 160)}, "length", "the output is 10 ms late"),
    (
        Denoises,
        {"denoise": lambda self, w: KEPT.append(w.copy()) or w * np.float32(0.5)},
        "memory",
        "per second of audio",
    ),
    (
        Denoises,
        {"denoise": lambda self, w: w * np.float32(np.random.default_rng().random())},
        "repeatable",
        "two sessions with identical input return different results",
    ),
]


@pytest.mark.parametrize(("base", "members", "check", "expected"), CASES)
def test_invalid_results_are_reported(
    base: type[ToySession], members: dict[str, Any], check: str, expected: str, tmp_path: Path
) -> None:
    KEPT.clear()
    report = testing.check_stage(spec_of(KIND[base], faulty(base, **members)), folder=tmp_path)
    KEPT.clear()
    assert expected in problems(report, check), str(report)


REFERENCE_PORTS = frozenset({"face:edit", "reference:image"})


def test_reference_enhancer_is_checked_in_both_places(tmp_path: Path) -> None:
    good = testing.check_enhancer(
        spec_of(StageKind.ENHANCER, Enhances, gives=REFERENCE_PORTS), folder=tmp_path / "good"
    )
    assert good.ok and "reference_result" in good.passed, str(good)
    bad = faulty(Enhances, enhance_references=lambda self, faces, references: replace(references, images=None))
    report = testing.check_stage(spec_of(StageKind.ENHANCER, bad, gives=REFERENCE_PORTS), folder=tmp_path / "bad")
    assert "images has type NoneType" in problems(report, "reference_result"), str(report)


# ------------------------------------------------------------------ specs


class Undescribed(StageConfig):
    strength: float = 1.0


class Described(StageConfig):
    strength: float = Field(default=1.0, description="How much.")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "My Stage"}, "the name is 'My Stage'"),
        ({"summary": ""}, "the summary is empty"),
        ({"licence": " "}, "the licence is empty"),
        ({"version": 2}, "the version is 2"),
        ({"api": NEXT_VERSION}, "made for version"),
        ({"gives": frozenset[str]()}, "gives contains no port face:edit"),
        ({"needs": frozenset({"speech:activty"})}, "did you mean 'speech:activity'?"),
        ({"config": Undescribed}, "the option 'strength' has no description"),
        ({"build": "module.Class"}, "build is 'module.Class'"),
        ({"digital_source_type": "warped"}, "digital_source_type is 'warped'"),
        (
            {"checkpoints": ("lips",), "digital_source_type": DigitalSourceType.ALGORITHMICALLY_ENHANCED},
            "loads the network lips",
        ),
    ],
)
def test_invalid_specs_are_reported(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    report = testing.check_stage(spec_of(StageKind.LIP_SYNCER, Syncs, **changes), folder=tmp_path)
    assert expected in problems(report, "spec"), str(report)


def test_option_descriptions_may_be_in_the_field_or_a_parent(tmp_path: Path) -> None:
    class Child(Described):
        on: str = "mouth"
        """Region."""

    report = testing.check_stage(spec_of(StageKind.DENOISER, Denoises, config=Child), folder=tmp_path)
    assert report.ok, str(report)


def test_heavy_imports_of_a_plugin_file_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import cv2\nfrom retalkit.plugins import hookimpl\n\n@hookimpl\ndef retalkit_stages():\n    return []\n"
    )
    found = FoundStage(spec_of(StageKind.DENOISER, Denoises), str(file), "1", "mine")
    report = testing.check_stage(found, folder=tmp_path / "kit")
    assert "listing the stage imports cv2" in problems(report, "spec")


# ------------------------------------------------------------------ stages that cannot run


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"requires": ("no_such_package",)}, "needs the Python package no_such_package"),
        ({"checkpoints": ("no_such_weights",)}, "needs the weights no_such_weights"),
        ({"needs": frozenset({"landmarks:mine99"})}, "landmarks:mine99, which the kit cannot provide"),
        ({"needs": frozenset({"coefficients:mine"})}, "coefficients:mine, which the kit cannot provide"),
    ],
)
def test_unavailable_stage_is_not_ok(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    report = testing.check_stage(spec_of(StageKind.LIP_SYNCER, Syncs, **changes), folder=tmp_path)
    assert expected in report.unavailable and not report.ok and not report.problems
    assert "not checked" in str(report)
    report.raise_if_broken()


def test_invalid_options_are_reported(tmp_path: Path) -> None:
    spec = spec_of(StageKind.DENOISER, Denoises, config=Described)
    assert "strength" in testing.check_stage(spec, options={"strength": "much"}, folder=tmp_path).unavailable


def test_edit_with_an_empty_mask_has_no_position(tmp_path: Path) -> None:
    def with_empty_mask(edit: FaceEdit) -> FaceEdit:
        return replace(invert_translation(edit), mask=np.zeros_like(edit.mask), confidence=0.0, reason="large yaw")

    stage = faulty(Syncs, one=lambda self, batch, row: change_edit(Syncs.one(self, batch, row), with_empty_mask))
    report = testing.check_stage(spec_of(StageKind.LIP_SYNCER, stage), folder=tmp_path)
    assert report.ok, str(report)


def test_traceback_hides_lines_of_the_kit(tmp_path: Path) -> None:
    report = testing.check_stage(spec_of(StageKind.DENOISER, Denoises, name="Toy"), folder=tmp_path)
    with pytest.raises(AssertionError) as caught:
        report.raise_if_broken()
    assert [entry.name for entry in caught.traceback.filter(caught)] == ["test_traceback_hides_lines_of_the_kit"]


def test_lip_syncer_without_edits_is_noted(tmp_path: Path) -> None:
    idle = faulty(Syncs, one=lambda self, batch, row: PassedThrough("shy"))
    report = testing.check_stage(spec_of(StageKind.LIP_SYNCER, idle), folder=tmp_path)
    assert report.ok and any("shy" in skipped.reason for skipped in report.skipped), str(report)


def test_wrong_kind_raises() -> None:
    with pytest.raises(ValueError, match="detector.*denoiser"):
        testing.check_detector(spec_of(StageKind.DENOISER, Denoises))
