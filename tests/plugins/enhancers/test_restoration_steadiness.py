"""What steadiness takes out of a restoration, and what it must leave."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from retalkit_enhancers.restoration.change import COARSE, low_pass, steadied
from retalkit_enhancers.restoration.config import RestorationConfig

DEFAULT = RestorationConfig().steadiness


def region(wide: int, high: int) -> np.ndarray:
    """float32 [512, 512, 3]: 30 grey levels brighter in an ellipse where the mouth is."""
    plane = np.zeros((512, 512), np.uint8)
    cv2.ellipse(plane, (256, 370), (wide // 2, high // 2), 0, 0, 360, (255,), -1, cv2.LINE_AA)
    return np.repeat(plane[..., None].astype(np.float32) * (30 / 255), 3, 2)


def waves(length: float) -> np.ndarray:
    """float32 [512, 512, 3]: waves of 10 grey levels, ``length`` pixels long."""
    wave = 10 * np.sin(2 * np.pi * np.arange(512) / length)
    return np.broadcast_to(wave[:, None, None], (512, 512, 3)).astype(np.float32)


@pytest.mark.parametrize("sigma", [16, COARSE, 48])
def test_the_quick_low_pass_is_a_gaussian(sigma: float) -> None:
    chance = np.random.default_rng(0)
    plane = region(100, 60) + cv2.GaussianBlur(chance.normal(0, 20, (512, 512, 3)), (0, 0), 4).astype(np.float32)
    exact = cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    # At the border one row of noise is not the mean of eight.
    inside = slice(96, -96)
    assert np.abs(low_pass(plane, sigma) - exact)[inside, inside].max() < 0.01 * np.ptp(plane)
    np.testing.assert_allclose(low_pass(np.full((512, 512, 3), 7, np.float32), sigma), 7, atol=1e-4)


def test_steadiness_0_is_as_published() -> None:
    difference = region(100, 30)
    assert steadied(difference, 0) is difference


def test_tint_goes_by_the_share_of_steadiness() -> None:
    tint = np.full((512, 512, 3), 8, np.float32)
    for share in (0.25, DEFAULT, 1):
        np.testing.assert_allclose(steadied(tint, share), 8 * (1 - share), atol=1e-3)


def test_detail_stays_and_shading_goes() -> None:
    for length, low, high in ((20, 0.99, 1.01), (400, 0.0, 0.15)):
        left = steadied(waves(length), 1)[128:-128]
        assert low <= np.abs(left).mean() / np.abs(waves(length)[128:-128]).mean() <= high


def test_the_default_takes_most_tint_and_leaves_teeth_light() -> None:
    teeth = region(90, 22)
    inside = teeth[..., 0] == teeth.max()
    near = (cv2.dilate(inside.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0) & (teeth[..., 0] == 0)
    left = steadied(teeth, DEFAULT)[..., 0]
    assert left[inside].mean() > 0.8 * 30
    # A shadow around them of more would be seen.
    assert left[near].mean() > -0.12 * 30
    assert 1 - DEFAULT <= 0.3
