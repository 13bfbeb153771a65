"""Colour offset and pyramid blend, compared with the published blend."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from retalkit.imaging.blending import LightMatch, band_count, light_gain, pyramid_blend

from tests.pseudo_weights import load_module


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> dict[str, np.ndarray]:
    with np.load(shared_parity / "pure_blend.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def images(shared_parity: Path) -> list[np.ndarray]:
    """Top and base: float32 [512, 512, 3] with integer grey levels."""
    image = load_module(shared_parity / "inputs.py").img
    random = (image(np.random.default_rng(seed), 1, 3, 512, 512)[0].transpose(1, 2, 0) for seed in (0, 1))
    return [np.round(one * 255).astype(np.uint8).astype(np.float32) for one in random]


@pytest.fixture(scope="module")
def ellipse() -> np.ndarray:
    mask = np.zeros((512, 512), np.float32)
    cv2.ellipse(mask, (256, 330), (110, 60), 10, 0, 360, (1.0,), -1)
    return mask


def test_blend_of_float_images_matches_published(
    published: dict[str, np.ndarray], images: list[np.ndarray], ellipse: np.ndarray
) -> None:
    top, base = images
    result = pyramid_blend(base, top, ellipse, 10)
    np.testing.assert_allclose(result[::4, ::4], published["blend10_f32in"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("bands", [3, 6, 10])
def test_blend_is_within_half_a_grey_level_of_published_uint8_blend(
    bands: int, published: dict[str, np.ndarray], images: list[np.ndarray], ellipse: np.ndarray
) -> None:
    """The published blend of uint8 images rounds each reduction to integer grey levels; ours does not."""
    top, base = images
    result = pyramid_blend(base, top, ellipse, bands)
    name = f"blend{bands}"
    np.testing.assert_allclose(result[::4, ::4], published[name], rtol=0, atol=0.5)
    np.testing.assert_allclose(result[:8, :8], published[f"{name}_tl"], rtol=0, atol=0.5)
    np.testing.assert_allclose(result[310:326, 240:256], published[f"{name}_mid"], rtol=0, atol=0.5)


def test_uniform_mask_returns_one_of_the_images(images: list[np.ndarray], ellipse: np.ndarray) -> None:
    top, base = (one[101:400, 51:398] for one in images)
    mask = ellipse[101:400, 51:398]
    np.testing.assert_allclose(pyramid_blend(base, top, np.ones_like(mask), 6), top, atol=1e-3)
    np.testing.assert_allclose(pyramid_blend(base, top, np.zeros_like(mask), 6), base, atol=1e-3)
    np.testing.assert_allclose(pyramid_blend(base, base, mask, 6), base, atol=1e-3)


def test_blend_has_no_edge_and_keeps_detail() -> None:
    rng = np.random.default_rng(5)
    grain = rng.normal(0, 10, (96, 128, 1)).astype(np.float32)
    base, top = np.full((96, 128, 3), 80, np.float32), np.full((96, 128, 3), 140, np.float32) + grain
    mask = np.zeros((96, 128), np.float32)
    mask[:, 64:] = 1
    out = pyramid_blend(base, top, mask, band_count(96, 128, limit=6, coarsest=4))
    hard = base * (1 - mask[..., None]) + top * mask[..., None]
    assert np.abs(np.diff(out[:, 60:68].mean((0, 2)))).max() < 0.4 * np.abs(np.diff(hard[:, 60:68].mean((0, 2)))).max()
    assert np.corrcoef(out[:, 110:].ravel(), top[:, 110:].ravel())[0, 1] > 0.95
    assert np.allclose(pyramid_blend(base, top, np.zeros_like(mask), 5), base, atol=1e-3)
    assert np.allclose(pyramid_blend(base, top, np.ones_like(mask), 5), top, atol=1e-2)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (17, 33)])
def test_blend_accepts_images_of_any_size(shape: tuple[int, int]) -> None:
    base, top = np.zeros((*shape, 3), np.float32), np.full((*shape, 3), 9, np.float32)
    bands = band_count(*shape, limit=6, coarsest=4)
    assert np.allclose(pyramid_blend(base, top, np.ones(shape, np.float32), bands), top, atol=1e-3)


def test_band_count_keeps_coarsest_band_large_enough() -> None:
    assert band_count(512, 600, limit=10, coarsest=4) == 8
    assert band_count(64, 600, limit=10, coarsest=4) == 5
    assert band_count(63, 600, limit=10, coarsest=4) == 4
    assert band_count(512, 600, limit=3, coarsest=4) == 3
    assert band_count(1, 1, limit=10, coarsest=4) == 1


def test_colour_offset_follows_lighting_and_ignores_pixels_outside_the_mask() -> None:
    height, width = 79, 122
    moved = np.full((height, width, 3), 100, np.float32)
    target = moved + np.linspace(-20, 20, width, dtype=np.float32)[None, :, None]
    skin = np.ones((height, width), np.uint8)
    target[30:50, 50:70] = 255
    skin[30:50, 50:70] = 0
    light = LightMatch(target, skin, 8)
    offset = light.offset(light.means(moved))
    assert offset.shape == (height, width, 3)
    assert abs(float(offset[10, 20].mean()) - (-20 + 40 * 20 / 121)) < 2
    assert abs(float(offset[40, 60].mean())) < 3  # the bright block is outside the mask


@pytest.mark.parametrize("light", [(0.03, 0.03, 0.03), (0.3, 0.3, 0.3), (1.6, 1.6, 1.6), (0.9, 0.7, 0.5)])
def test_light_gain_reproduces_the_light_of_the_target(light: tuple[float, float, float]) -> None:
    moved = np.random.default_rng(2).uniform(60, 120, (20, 30, 3)).astype(np.float32)
    skin = np.ones((20, 30), np.uint8)
    skin[:, :10] = 0
    target = moved * np.array(light, np.float32)
    # Pixels outside the mask, such as lips, are ignored.
    moved[:, :10] = 255
    gain = light_gain(target, moved, skin)
    assert np.allclose(moved[:, 10:] * gain, target[:, 10:], atol=1.5)
    match = LightMatch(target, skin, 8)
    assert np.allclose(match.gain(match.means(moved)), gain, rtol=1e-4)


def test_light_gain_of_similar_images_is_exactly_one() -> None:
    moved = np.random.default_rng(2).uniform(60, 120, (20, 30, 3)).astype(np.float32)
    for factor in (0.95, 1.0, 1.05):
        assert (light_gain(moved * np.float32(factor), moved, np.ones((20, 30), np.uint8)) == 1).all()
    assert (light_gain(moved, moved * 2, np.zeros((20, 30), np.uint8)) == 1).all()
