"""Masks from parsing classes, compared with the published values."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from retalkit_enhancers.parsing.masks import BORDER, FACE, MOUTH, NAMES, class_mask, soften

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> dict[str, np.ndarray]:
    with np.load(shared_parity / "pure_blend.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def ellipse() -> np.ndarray:
    mask = np.zeros((512, 512), np.float32)
    cv2.ellipse(mask, (256, 330), (110, 60), 10, 0, 360, (1.0,), -1)
    return mask


def test_soft_mask_is_the_published_one(published: dict[str, np.ndarray], ellipse: np.ndarray) -> None:
    before = ellipse.copy()
    np.testing.assert_allclose(soften(ellipse)[::4, ::4], published["mask_postprocess"], rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(ellipse, before)


def test_soft_mask_leaves_out_the_edges() -> None:
    mask = np.zeros((512, 512), np.float32)
    mask[:BORDER] = 1
    assert not soften(mask).any()


def test_classes_of_mouth_and_face() -> None:
    classes = np.arange(19, dtype=np.uint8).reshape(1, -1)
    assert np.flatnonzero(class_mask(classes, MOUTH)).tolist() == [10, 11, 12]
    assert np.flatnonzero(class_mask(classes, FACE)).tolist() == [1, 2, 3, 4, 5, 6, 7, 10, 11, 12]
    assert set(np.unique(class_mask(classes, FACE))) == {0, 255}
    assert {NAMES[index] for index in MOUTH} == {"mouth", "upper lip", "lower lip"}
    assert len(NAMES) == 19
