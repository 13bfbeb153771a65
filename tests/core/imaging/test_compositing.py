"""Pasting edits and the tools that hide their border."""

from __future__ import annotations

import numpy as np
import pytest
from retalkit.imaging.compositing import (
    NOTHING,
    area,
    composite,
    integer_shift,
    low_frequency_offset,
    multi_band_blend,
    shift_matrix,
)
from retalkit.stages import FaceEdit


def _frame(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3)).astype(np.uint8)


def _edit(left: int, top: int, height: int, width: int, value: int = 200) -> FaceEdit:
    mask = np.zeros((height, width), np.float32)
    mask[2:-2, 2:-2] = 1
    return FaceEdit(np.full((height, width, 3), value, np.uint8), mask, shift_matrix(left, top))


def test_pixels_outside_the_mask_keep_their_bits() -> None:
    frame, before = _frame(), _frame()
    edit = _edit(10, 5, 12, 20)
    rectangle = composite(frame, edit)
    assert rectangle == (12, 7, 16, 8)
    inside = np.zeros(frame.shape[:2], bool)
    inside[7:15, 12:28] = True
    assert (frame[~inside] == before[~inside]).all()
    assert (frame[inside] == 200).all()


def test_a_soft_mask_mixes_and_rounds() -> None:
    frame = np.full((4, 4, 3), 100, np.uint8)
    mask = np.zeros((4, 4), np.float32)
    mask[1, 1], mask[2, 2] = 0.5, 0.25
    composite(frame, FaceEdit(np.full((4, 4, 3), 203, np.uint8), mask, shift_matrix(0, 0)))
    assert frame[1, 1].tolist() == [152] * 3  # 151.5 rounds up
    assert frame[2, 2].tolist() == [126] * 3
    assert (frame[0] == 100).all()


@pytest.mark.parametrize(("left", "top"), [(-6, -4), (50, 33), (-6, 33)])
def test_what_lies_outside_the_frame_is_dropped(left: int, top: int) -> None:
    frame, before = _frame(), _frame()
    x, y, width, height = composite(frame, _edit(left, top, 12, 20))
    assert x >= 0 and y >= 0 and x + width <= 60 and y + height <= 40
    changed = (frame != before).any(-1)
    changed[y : y + height, x : x + width] = False
    assert not changed.any()
    assert (frame[y : y + height, x : x + width] == 200).all()


def test_an_edit_beside_the_frame_or_with_an_empty_mask_changes_nothing() -> None:
    frame, before = _frame(), _frame()
    assert composite(frame, _edit(200, 5, 12, 20)) == NOTHING
    empty = FaceEdit(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32), shift_matrix(3, 3))
    assert composite(frame, empty) == NOTHING
    assert (frame == before).all()


def test_the_area_of_an_edit_is_told_also_outside_of_the_frame() -> None:
    edit = _edit(200, -50, 12, 20)
    found = area(edit)
    assert found is not None and found.tolist() == [202, -48, 217, -41]
    halved = area(FaceEdit(edit.image, edit.mask, np.array([[0.5, 0, -5], [0, 0.5, 0]], np.float32)))
    assert halved is not None and halved.tolist() == [14, 4, 44, 18]
    assert area(FaceEdit(edit.image, np.zeros_like(edit.mask), edit.matrix)) is None


def test_a_general_matrix_is_resampled_to_its_place() -> None:
    """An edit at half the frame's size: its middle must land where the matrix says, on both axes."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[8:12, 18:22] = 255
    edit = FaceEdit(image, np.ones((20, 30), np.float32), np.array([[0.5, 0, -2], [0, 0.5, -1]], np.float32))
    frame = np.full((60, 80, 3), 50, np.uint8)
    left, top, width, height = composite(frame, edit)
    rows, columns = np.nonzero(frame[..., 0] > 200)
    assert abs(columns.mean() - (19.5 + 2) * 2) < 0.6 and abs(rows.mean() - (9.5 + 1) * 2) < 0.6
    # Pixel centres of the edit reach from frame (4, 2) to (62, 40); beyond them nothing may change.
    assert left >= 3 and top >= 1 and left + width <= 65 and top + height <= 43
    assert (frame[:, :3] == 50).all() and (frame[45:] == 50).all()


def test_a_half_pixel_shift_is_not_taken_for_a_whole_one() -> None:
    assert integer_shift(np.array([[1, 0, -3], [0, 1, 4]], np.float32)) == (3, -4)
    assert integer_shift(np.array([[1, 0, -3.5], [0, 1, 4]], np.float32)) is None
    assert integer_shift(np.array([[1, 0.01, -3], [0, 1, 4]], np.float32)) is None


def test_wrong_edits_are_refused() -> None:
    mask = np.ones((4, 5), np.float32)
    with pytest.raises(ValueError, match="differ in size"):
        composite(_frame(), FaceEdit(np.zeros((4, 4, 3), np.uint8), mask, shift_matrix(0, 0)))
    flat = np.array([[1, 1, 0], [1, 1, 0]], np.float32)
    with pytest.raises(ValueError, match="inverted"):
        composite(_frame(), FaceEdit(np.zeros((4, 5, 3), np.uint8), mask, flat))


def test_colour_offset_follows_the_light_but_not_what_has_no_weight() -> None:
    height, width = 80, 120
    moved = np.full((height, width, 3), 100, np.float32)
    target = moved + np.linspace(-20, 20, width, dtype=np.float32)[None, :, None]
    weight = np.ones((height, width), np.float32)
    target[30:50, 50:70] = 255
    weight[30:50, 50:70] = 0
    offset = low_frequency_offset(target, moved, weight, 8)
    assert abs(float(offset[10, 20].mean()) - (-20 + 40 * 20 / 119)) < 2
    assert abs(float(offset[40, 60].mean())) < 3  # the bright block must not speak


def test_blend_joins_layers_without_an_edge_and_keeps_detail() -> None:
    rng = np.random.default_rng(5)
    grain = rng.normal(0, 10, (96, 128, 1)).astype(np.float32)
    base, top = np.full((96, 128, 3), 80, np.float32), np.full((96, 128, 3), 140, np.float32) + grain
    mask = np.zeros((96, 128), np.float32)
    mask[:, 64:] = 1
    out = multi_band_blend(base, top, mask, 5)
    hard = base * (1 - mask[..., None]) + top * mask[..., None]
    assert np.abs(np.diff(out[:, 60:68].mean((0, 2)))).max() < 0.4 * np.abs(np.diff(hard[:, 60:68].mean((0, 2)))).max()
    assert np.corrcoef(out[:, 110:].ravel(), top[:, 110:].ravel())[0, 1] > 0.95
    assert np.allclose(multi_band_blend(base, top, np.zeros_like(mask)), base, atol=1e-3)
    assert np.allclose(multi_band_blend(base, top, np.ones_like(mask)), top, atol=1e-2)


def test_blend_takes_crops_of_any_size() -> None:
    for shape in ((1, 1), (3, 200), (17, 33)):
        base, top = np.zeros((*shape, 3), np.float32), np.full((*shape, 3), 9, np.float32)
        assert np.allclose(multi_band_blend(base, top, np.ones(shape, np.float32)), top, atol=1e-3)
