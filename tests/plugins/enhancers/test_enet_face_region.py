"""The face region of E-Net and the mask of its result."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.geometry.face_crop import crop_face, crop_matrix
from retalkit.stages import FaceEdit
from retalkit_enhancers.enet.face_region import detected_box, full_mask, locate, low_box

WIDTH, HEIGHT = 1920, 1080


def make_image(seed: int, height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (height // 8 + 1, width // 8 + 1, 3)).astype(np.float32)
    return cv2.resize(noise, (width, height)).astype(np.uint8)


def edit_at(box: tuple[int, ...], size: int = 96) -> FaceEdit:
    unrounded = np.random.default_rng(1).random((size, size, 3), np.float32)
    matrix = crop_matrix(np.array(box, np.float32), size)
    return FaceEdit(
        (unrounded * 255).astype(np.uint8), np.ones((size, size), np.float32), matrix, unrounded_image=unrounded
    )


@pytest.mark.parametrize("box", [(0, 0, 96, 96), (1702, 811, 1920, 1080), (301, 17, 644, 455), (5, 7, 10, 19)])
def test_box_of_an_lnet_result_follows_from_its_matrix(box: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(low_box(edit_at(box), WIDTH, HEIGHT), np.array(box, np.float32))


def test_other_edits_have_no_low_resolution_box() -> None:
    box = (100, 100, 300, 340)
    assert low_box(edit_at(box, 128), WIDTH, HEIGHT) is None
    edit = edit_at(box)
    rounded_only = FaceEdit(edit.image, edit.mask, edit.matrix)
    assert low_box(rounded_only, WIDTH, HEIGHT) is None
    turned = edit.matrix.copy()
    turned[0, 1] = 0.01
    assert low_box(replace(edit, matrix=turned), WIDTH, HEIGHT) is None
    between = edit.matrix.copy()
    between[0, 2] += 0.2
    assert (
        low_box(FaceEdit(edit.image, edit.mask, between, unrounded_image=edit.unrounded_image), WIDTH, HEIGHT) is None
    )
    assert low_box(edit, 299, HEIGHT) is None


def test_detected_box_is_extended_for_the_chin_and_clipped() -> None:
    assert detected_box(np.array([-3.2, 10.7, 90.2, 470.0], np.float32), 640, 480).tolist() == [0, 11, 90, 480]
    assert detected_box(np.full(4, np.nan, np.float32), 640, 480) is None
    assert detected_box(np.array([700, 10, 800, 90], np.float32), 640, 480) is None


def test_lnet_result_is_used_unchanged() -> None:
    edit = edit_at((40, 50, 200, 230))
    found = locate(edit, make_image(2, 300, 400), np.full(4, np.nan, np.float32))
    assert found is not None and found[1] is edit.unrounded_image


def test_other_edits_are_composited_into_the_frame() -> None:
    frame = make_image(3, 300, 400)
    face = np.array([60, 40, 220, 210], np.float32)
    image = np.full((40, 60, 3), (200, 30, 90), np.uint8)
    shift = np.array([[1, 0, -120], [0, 1, -150]], np.float32)
    found = locate(FaceEdit(image, np.ones((40, 60), np.float32), shift), frame, face)
    assert found is not None
    box, low = found
    assert box.tolist() == [60, 40, 220, 224]
    assert low.shape == (96, 96, 3) and low.dtype == np.float32
    # The edit covers columns 120 to 180 and rows 150 to 190 of the frame: 36 to 72 and 57 to 78 of the box.
    np.testing.assert_allclose(
        low[60:75, 39:69], np.broadcast_to(np.array([200, 30, 90]) / 255, (15, 30, 3)), atol=1e-6
    )
    expected = cv2.resize(crop_face(frame, box, 384), (96, 96), interpolation=cv2.INTER_LINEAR) / 255
    np.testing.assert_allclose(low[:50], expected[:50], atol=1 / 255)
    assert locate(FaceEdit(image, np.ones((40, 60), np.float32), shift), frame, np.full(4, np.nan, np.float32)) is None


def test_mask_has_soft_edges() -> None:
    mask = full_mask(False)
    assert mask.shape == (384, 384) and mask.dtype == np.float32
    for border in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        assert border.max() < 0.002
    assert np.abs(np.diff(mask, axis=0)).max() < 0.07
    assert (mask[30:-30, 30:-30] == 1).all()


def test_mask_of_the_lower_half() -> None:
    mask = full_mask(True)
    assert (mask[:192] == 0).all()
    assert np.abs(np.diff(mask, axis=0)).max() < 0.07
    assert (mask[220:350, 30:-30] == 1).all()
