"""Effect of ``steadiness`` on the difference of a restoration."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from retalkit_enhancers.restoration.config import RestorationConfig
from retalkit_enhancers.restoration.difference import COARSE, low_pass, reduce_flicker

DEFAULT = RestorationConfig().steadiness


def region(wide: int, high: int) -> np.ndarray:
    """Return float32 [512, 512, 3]: 30 grey levels in an ellipse at the mouth."""
    plane = np.zeros((512, 512), np.uint8)
    cv2.ellipse(plane, (256, 370), (wide // 2, high // 2), 0, 0, 360, (255,), -1, cv2.LINE_AA)
    return np.repeat(plane[..., None].astype(np.float32) * (30 / 255), 3, 2)


def waves(length: float) -> np.ndarray:
    """Return float32 [512, 512, 3]: waves of 10 grey levels, ``length`` pixels long."""
    wave = 10 * np.sin(2 * np.pi * np.arange(512) / length)
    return np.broadcast_to(wave[:, None, None], (512, 512, 3)).astype(np.float32)


@pytest.mark.parametrize("sigma", [16, COARSE, 48])
def test_low_pass_approximates_a_gaussian(sigma: float) -> None:
    generator = np.random.default_rng(0)
    plane = region(100, 60) + cv2.GaussianBlur(generator.normal(0, 20, (512, 512, 3)), (0, 0), 4).astype(np.float32)
    exact = cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    # Not at the border, where one row of noise differs from the mean of eight.
    inside = slice(96, -96)
    assert np.abs(low_pass(plane, sigma) - exact)[inside, inside].max() < 0.01 * np.ptp(plane)
    np.testing.assert_allclose(low_pass(np.full((512, 512, 3), 7, np.float32), sigma), 7, atol=1e-4)


def test_steadiness_0_returns_the_difference() -> None:
    difference = region(100, 30)
    assert reduce_flicker(difference, 0) is difference


def test_tint_is_reduced_by_steadiness() -> None:
    tint = np.full((512, 512, 3), 8, np.float32)
    for share in (0.25, DEFAULT, 1):
        np.testing.assert_allclose(reduce_flicker(tint, share), 8 * (1 - share), atol=1e-3)


def test_detail_is_kept_and_shading_removed() -> None:
    for length, low, high in ((20, 0.99, 1.01), (400, 0.0, 0.15)):
        left = reduce_flicker(waves(length), 1)[128:-128]
        assert low <= np.abs(left).mean() / np.abs(waves(length)[128:-128]).mean() <= high


def test_default_reduces_tint_and_keeps_teeth_bright() -> None:
    teeth = region(90, 22)
    inside = teeth[..., 0] == teeth.max()
    near = (cv2.dilate(inside.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0) & (teeth[..., 0] == 0)
    left = reduce_flicker(teeth, DEFAULT)[..., 0]
    assert left[inside].mean() > 0.8 * 30
    # A deeper shadow around them would be visible.
    assert left[near].mean() > -0.12 * 30
    assert 1 - DEFAULT <= 0.3
