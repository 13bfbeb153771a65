"""Compositing of edits into frames."""

from __future__ import annotations

import numpy as np
import pytest
from retalkit.imaging.compositing import EMPTY, composite, edited_bounds, integer_shift, shift_matrix
from retalkit.stages import FaceEdit


def _frame(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3)).astype(np.uint8)


def _edit(left: int, top: int, height: int, width: int, value: int = 200) -> FaceEdit:
    mask = np.zeros((height, width), np.float32)
    mask[2:-2, 2:-2] = 1
    return FaceEdit(np.full((height, width, 3), value, np.uint8), mask, shift_matrix(left, top))


def test_pixels_outside_mask_are_bit_identical() -> None:
    frame, before = _frame(), _frame()
    edit = _edit(10, 5, 12, 20)
    rectangle = composite(frame, edit)
    assert rectangle == (12, 7, 16, 8)
    inside = np.zeros(frame.shape[:2], bool)
    inside[7:15, 12:28] = True
    assert (frame[~inside] == before[~inside]).all()
    assert (frame[inside] == 200).all()


def test_soft_mask_mixes_and_rounds() -> None:
    frame = np.full((4, 4, 3), 100, np.uint8)
    mask = np.zeros((4, 4), np.float32)
    mask[1, 1], mask[2, 2] = 0.5, 0.25
    composite(frame, FaceEdit(np.full((4, 4, 3), 203, np.uint8), mask, shift_matrix(0, 0)))
    assert frame[1, 1].tolist() == [152] * 3  # 151.5 rounds up
    assert frame[2, 2].tolist() == [126] * 3
    assert (frame[0] == 100).all()


@pytest.mark.parametrize(("left", "top"), [(-6, -4), (50, 33), (-6, 33)])
def test_parts_outside_frame_are_dropped(left: int, top: int) -> None:
    frame, before = _frame(), _frame()
    x, y, width, height = composite(frame, _edit(left, top, 12, 20))
    assert x >= 0 and y >= 0 and x + width <= 60 and y + height <= 40
    changed = (frame != before).any(-1)
    changed[y : y + height, x : x + width] = False
    assert not changed.any()
    assert (frame[y : y + height, x : x + width] == 200).all()


def test_edit_outside_frame_or_with_empty_mask_changes_nothing() -> None:
    frame, before = _frame(), _frame()
    assert composite(frame, _edit(200, 5, 12, 20)) == EMPTY
    empty = FaceEdit(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32), shift_matrix(3, 3))
    assert composite(frame, empty) == EMPTY
    assert (frame == before).all()


def test_edited_bounds_extend_outside_frame() -> None:
    edit = _edit(200, -50, 12, 20)
    found = edited_bounds(edit)
    assert found is not None and found.tolist() == [202, -48, 217, -41]
    halved = edited_bounds(FaceEdit(edit.image, edit.mask, np.array([[0.5, 0, -5], [0, 0.5, 0]], np.float32)))
    assert halved is not None and halved.tolist() == [14, 4, 44, 18]
    assert edited_bounds(FaceEdit(edit.image, np.zeros_like(edit.mask), edit.matrix)) is None


def test_general_matrix_is_resampled() -> None:
    """The centre of an edit at half resolution lands where the matrix maps it, on both axes."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[8:12, 18:22] = 255
    edit = FaceEdit(image, np.ones((20, 30), np.float32), np.array([[0.5, 0, -2], [0, 0.5, -1]], np.float32))
    frame = np.full((60, 80, 3), 50, np.uint8)
    left, top, width, height = composite(frame, edit)
    rows, columns = np.nonzero(frame[..., 0] > 200)
    assert abs(columns.mean() - (19.5 + 2) * 2) < 0.6 and abs(rows.mean() - (9.5 + 1) * 2) < 0.6
    # Pixel centres of the edit span frame (4, 2) to (62, 40); no pixel beyond them may change.
    assert left >= 3 and top >= 1 and left + width <= 65 and top + height <= 43
    assert (frame[:, :3] == 50).all() and (frame[45:] == 50).all()


def test_half_pixel_shift_is_not_an_integer_shift() -> None:
    assert integer_shift(np.array([[1, 0, -3], [0, 1, 4]], np.float32)) == (3, -4)
    assert integer_shift(np.array([[1, 0, -3.5], [0, 1, 4]], np.float32)) is None
    assert integer_shift(np.array([[1, 0.01, -3], [0, 1, 4]], np.float32)) is None


def test_invalid_edits_are_rejected() -> None:
    mask = np.ones((4, 5), np.float32)
    with pytest.raises(ValueError, match="differ in size"):
        composite(_frame(), FaceEdit(np.zeros((4, 4, 3), np.uint8), mask, shift_matrix(0, 0)))
    flat = np.array([[1, 1, 0], [1, 1, 0]], np.float32)
    with pytest.raises(ValueError, match="inverted"):
        composite(_frame(), FaceEdit(np.zeros((4, 5, 3), np.uint8), mask, flat))
