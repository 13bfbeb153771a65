"""Reports name the frame and the line of a problem, and list each cause once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retalkit import testing
from retalkit.stages import FaceEdit

from tests.core.testing.toys import KIND, Denoises, Enhances, Syncs, ToySession, faulty, problems, spec_of


def check(base: type[ToySession], folder: Path, **members: Any) -> testing.Report:
    return testing.check_stage(spec_of(KIND[base], faulty(base, **members)), folder=folder)


def first_problem(report: testing.Report, name: str) -> str:
    return next(problem.broken for problem in report.problems if problem.check == name)


def require_finite(self: Syncs, batch: Any) -> Any:
    assert all(int(points[0, 0]) >= 0 for points in batch.faces.landmarks)
    return Syncs.sync(self, batch)


def stack_frames(self: Syncs, batch: Any) -> Any:
    return np.stack(list(batch.faces.frames.images)) is None or Syncs.sync(self, batch)


def read_column_200(self: Syncs, batch: Any) -> Any:
    return batch.faces.frames.images[:, :, 200] is None or Syncs.sync(self, batch)


@pytest.mark.parametrize(
    ("sync", "name", "expected", "contract"),
    [
        (require_finite, "result", "for frame 3, which has no face", "A row of NaN values"),
        (stack_frames, "empty", "for a batch without frames", "A batch may contain no frames"),
        (read_column_200, "odd_size", "for frame 0 (167 x 121-pixel frames", "Frames may have any size"),
        (read_column_200, "one_pixel", "for frame 0 (1 x 1-pixel frames", "Frames may have any size"),
    ],
)
def test_exception_names_its_input_and_line(sync: Any, name: str, expected: str, contract: str, tmp_path: Path) -> None:
    report = check(Syncs, tmp_path, sync=sync)
    (problem,) = (problem for problem in report.problems if problem.check == name)
    assert expected in problem.broken and contract in problem.contract, str(report)
    # NumPy raised it; the reported line is the stage's.
    assert f"({__file__}, line {sync.__code__.co_firstlineno + 1})" in problem.broken


def test_failing_chunk_is_named(tmp_path: Path) -> None:
    report = check(Denoises, tmp_path, denoise=lambda self, w: w / np.abs(w).max() * np.float32(0.5))
    assert "for a chunk of 0 samples" in problems(report, "chunks"), str(report)


def test_frames_that_fail_only_in_one_batch_are_named(tmp_path: Path) -> None:
    report = check(Syncs, tmp_path, sync=lambda self, b: 1 / 0 if len(b.positions) > 3 else Syncs.sync(self, b))
    assert "for frames 2 to 7 in one batch, but not for single-frame" in first_problem(report, "result")


def test_one_cause_is_listed_once_with_all_its_checks(tmp_path: Path) -> None:
    def one(self: Syncs, batch: Any, row: int) -> Any:
        edit = Syncs.one(self, batch, row)
        return replace(edit, mask=edit.mask * 3) if isinstance(edit, FaceEdit) else edit

    report = check(Syncs, tmp_path, one=one)
    text = str(report)
    assert text.startswith("lip_syncer 'toy': 1 problem\n") and text.count("expected values in [0, 1]") == 1, text
    assert "also in: repeatable, resume" in text
    # Invalid results can still be repeatable.
    assert "different results" not in text


def test_modified_edit_is_named(tmp_path: Path) -> None:
    def better(self: Enhances, edit: FaceEdit) -> FaceEdit:
        edit.image[...] = 0
        return replace(edit, unrounded_image=None)

    report = check(Enhances, tmp_path, better=better)
    assert "modified its input: the image of the edit of frame 0" in problems(report, "inputs"), str(report)


def test_checks_without_a_result_are_listed_as_skipped(tmp_path: Path) -> None:
    report = check(Syncs, tmp_path, sync=lambda self, batch: None)
    assert any("odd_size" in skipped.checks and "memory" in skipped.checks for skipped in report.skipped), str(report)
