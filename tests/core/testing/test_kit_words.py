"""The report says what is broken once, for which frame, and in whose line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retalkit import testing
from retalkit.stages import FaceEdit

from tests.core.testing.toys import KIND, Denoises, Enhances, Syncs, ToySession, broken, spec_of, words


def check(base: type[ToySession], folder: Path, **members: Any) -> testing.Report:
    return testing.check_stage(spec_of(KIND[base], broken(base, **members)), folder=folder)


def line_of(report: testing.Report, name: str) -> str:
    return next(problem.broken for problem in report.problems if problem.check == name)


def whole_numbers(self: Syncs, batch: Any) -> Any:
    assert all(int(points[0, 0]) >= 0 for points in batch.faces.landmarks)
    return Syncs.sync(self, batch)


def stacked(self: Syncs, batch: Any) -> Any:
    return np.stack(list(batch.faces.frames.images)) is None or Syncs.sync(self, batch)


def wide(self: Syncs, batch: Any) -> Any:
    return batch.faces.frames.images[:, :, 200] is None or Syncs.sync(self, batch)


@pytest.mark.parametrize(
    ("sync", "name", "expected", "contract"),
    [
        (whole_numbers, "result", "for frame 3, which has no face: its rows are NaN", "A row of NaN says"),
        (stacked, "empty", "for a batch without frames", "A batch may have no frames"),
        (wide, "odd_size", "for frame 0 (frames of 167 x 121 pixels", "Frames have any size"),
        (wide, "one_pixel", "for frame 0 (frames of 1 x 1 pixel", "Frames have any size"),
    ],
)
def test_an_exception_is_told_with_what_it_came_of(
    sync: Any, name: str, expected: str, contract: str, tmp_path: Path
) -> None:
    report = check(Syncs, tmp_path, sync=sync)
    (problem,) = (problem for problem in report.problems if problem.check == name)
    assert expected in problem.broken and contract in problem.contract, str(report)
    # numpy raised it; the line is the stage's own.
    assert f"({__file__}, line {sync.__code__.co_firstlineno + 1})" in problem.broken


def test_a_chunk_that_a_denoiser_does_not_take_is_named(tmp_path: Path) -> None:
    report = check(Denoises, tmp_path, denoise=lambda self, w: w / np.abs(w).max() * np.float32(0.5))
    assert "for a chunk of 0 samples" in words(report, "chunks"), str(report)


def test_frames_that_fail_only_together_are_said_to(tmp_path: Path) -> None:
    report = check(Syncs, tmp_path, sync=lambda self, b: 1 / 0 if len(b.positions) > 3 else Syncs.sync(self, b))
    assert "for frames 2 to 7 together, for none of them alone" in line_of(report, "result")


def test_one_fault_is_told_once_with_the_other_checks_that_found_it(tmp_path: Path) -> None:
    def one(self: Syncs, batch: Any, row: int) -> Any:
        edit = Syncs.one(self, batch, row)
        return replace(edit, mask=edit.mask * 3) if isinstance(edit, FaceEdit) else edit

    report = check(Syncs, tmp_path, one=one)
    said = str(report)
    assert said.startswith("lip_syncer 'toy': 1 problem\n") and said.count("not within [0, 1]") == 1, said
    assert "also in: repeatable, resume" in said
    # Results that are wrong are the same again nevertheless.
    assert "in the first place" not in said


def test_an_edit_that_was_changed_is_named_in_words(tmp_path: Path) -> None:
    def better(self: Enhances, edit: FaceEdit) -> FaceEdit:
        edit.image[...] = 0
        return replace(edit, unrounded_image=None)

    report = check(Enhances, tmp_path, better=better)
    assert "changed the image of the edit of frame 0 of its input" in words(report, "inputs"), str(report)


def test_what_was_not_tried_without_a_result_is_said(tmp_path: Path) -> None:
    report = check(Syncs, tmp_path, sync=lambda self, batch: None)
    assert any("odd_size" in skipped.check and "memory" in skipped.check for skipped in report.skipped), str(report)
