"""Masks out of classes, and the band-by-band blend, against the published numbers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from retalkit_enhancers.parsing.blending import pyramid_blend
from retalkit_enhancers.parsing.masks import BORDER, FACE, MOUTH, NAMES, class_mask, softened

from tests.pseudo_weights import load_module

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> dict[str, np.ndarray]:
    with np.load(shared_parity / "pure_blend.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def pictures(shared_parity: Path) -> list[np.ndarray]:
    image = load_module(shared_parity / "inputs.py").img
    drawn = (image(np.random.default_rng(seed), 1, 3, 512, 512)[0].transpose(1, 2, 0) for seed in (0, 1))
    return [np.round(one * 255).astype(np.uint8) for one in drawn]


@pytest.fixture(scope="module")
def ellipse() -> np.ndarray:
    mask = np.zeros((512, 512), np.float32)
    cv2.ellipse(mask, (256, 330), (110, 60), 10, 0, 360, (1.0,), -1)
    return mask


@pytest.mark.parametrize("levels", [3, 6, 10])
def test_blend_is_the_published_one(
    levels: int, published: dict[str, np.ndarray], pictures: list[np.ndarray], ellipse: np.ndarray
) -> None:
    result = pyramid_blend(*pictures, ellipse, levels)
    name = f"blend{levels}"
    near = {"rtol": 0, "atol": TOLERANCE}
    np.testing.assert_allclose(result[::4, ::4], published[name], **near)
    np.testing.assert_allclose(result[:8, :8], published[f"{name}_tl"], **near)
    np.testing.assert_allclose(result[310:326, 240:256], published[f"{name}_mid"], **near)


def test_blend_of_exact_pictures_is_the_published_one(
    published: dict[str, np.ndarray], pictures: list[np.ndarray], ellipse: np.ndarray
) -> None:
    result = pyramid_blend(*(one.astype(np.float32) for one in pictures), ellipse, 10)
    np.testing.assert_allclose(result[::4, ::4], published["blend10_f32in"], rtol=0, atol=TOLERANCE)


def test_blend_works_at_any_size(pictures: list[np.ndarray], ellipse: np.ndarray) -> None:
    top, base = (one[101:400, 51:398].astype(np.float32) for one in pictures)
    mask = ellipse[101:400, 51:398]
    np.testing.assert_allclose(pyramid_blend(top, base, np.ones_like(mask), 6), top, atol=1e-3)
    np.testing.assert_allclose(pyramid_blend(top, base, np.zeros_like(mask), 6), base, atol=1e-3)
    np.testing.assert_allclose(pyramid_blend(base, base, mask, 6), base, atol=1e-3)


def test_soft_mask_is_the_published_one(published: dict[str, np.ndarray], ellipse: np.ndarray) -> None:
    before = ellipse.copy()
    np.testing.assert_allclose(softened(ellipse)[::4, ::4], published["mask_postprocess"], rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(ellipse, before)


def test_soft_mask_leaves_out_the_edges() -> None:
    mask = np.zeros((512, 512), np.float32)
    mask[:BORDER] = 1
    assert not softened(mask).any()


def test_classes_of_mouth_and_face() -> None:
    classes = np.arange(19, dtype=np.uint8).reshape(1, -1)
    assert np.flatnonzero(class_mask(classes, MOUTH)).tolist() == [10, 11, 12]
    assert np.flatnonzero(class_mask(classes, FACE)).tolist() == [1, 2, 3, 4, 5, 6, 7, 10, 11, 12]
    assert set(np.unique(class_mask(classes, FACE))) == {0, 255}
    assert {NAMES[index] for index in MOUTH} == {"mouth", "upper lip", "lower lip"}
    assert len(NAMES) == 19
