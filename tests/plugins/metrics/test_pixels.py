"""The metric ``pixels`` on known errors, blur, delayed frames and frames of another size."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from retalkit.errors import InputError
from retalkit.geometry import mesh478
from retalkit.metrics.scene import Scene
from retalkit_metrics.pixels import decibels, ssim_map

from tests.plugins.metrics.scenes import Frames, edited, score


def test_identical_frames_are_perfect(moment: Scene) -> None:
    assert score("pixels", moment) == {"psnr": 100, "ssim": 1, "mouth_psnr": 100, "mouth_ssim": 1}


def test_error_of_ten_grey_levels_is_28_decibels(moment: Scene) -> None:
    dim = edited(moment, lambda image, landmarks, index: image // 2 + 20).source
    lighter = edited(moment, lambda image, landmarks, index: image // 2 + 30)
    scores = score("pixels", replace(lighter, original=dim))
    assert scores["psnr"] == pytest.approx(20 * np.log10(25.5), abs=0.01)
    assert scores["mouth_psnr"] == pytest.approx(20 * np.log10(25.5), abs=0.01)


def test_identical_frames_do_not_dominate_psnr(moment: Scene) -> None:
    def every_second_frame(image, landmarks, index):
        return image if index % 2 else image // 2 + 60

    def every_frame(image, landmarks, index):
        return image // 2 + 60

    gained = (
        score("pixels", edited(moment, every_second_frame))["psnr"]
        - score("pixels", edited(moment, every_frame))["psnr"]
    )
    assert gained == pytest.approx(10 * np.log10(2), abs=0.3)


def test_ssim_of_constant_images_matches_the_formula() -> None:
    first, second = (np.full((40, 40, 3), level, np.uint8) for level in (2, 6))
    found = ssim_map(first, second)
    assert found is not None
    constant = (0.01 * 255) ** 2
    assert np.allclose(found, (2 * 2 * 6 + constant) / (2**2 + 6**2 + constant), atol=1e-3)
    assert ssim_map(first[:8], second[:8]) is None


def test_ssim_uses_the_published_gaussian_window() -> None:
    generator = np.random.default_rng(3)
    first = generator.integers(90, 110, (11, 11)).astype(np.uint8)
    second = np.clip(first + generator.normal(0, 6, (11, 11)), 0, 255).astype(np.uint8)
    found = ssim_map(np.stack([first] * 3, -1), np.stack([second] * 3, -1))
    assert found is not None
    falling = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    weights = np.outer(falling, falling) / falling.sum() ** 2
    a, b = first.astype(float), second.astype(float)
    means = [(weights * each).sum() for each in (a, b)]
    spreads = [(weights * (each - mean) ** 2).sum() for each, mean in zip((a, b), means, strict=True)]
    joint = (weights * (a - means[0]) * (b - means[1])).sum()
    small, other = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    light = (2 * means[0] * means[1] + small) / (means[0] ** 2 + means[1] ** 2 + small)
    structure = (2 * joint + other) / (sum(spreads) + other)
    assert found[5, 5] == pytest.approx(light * structure, abs=2e-5)


def test_blur_and_delay_lower_the_scores(moment: Scene) -> None:
    blurred = score("pixels", edited(moment, lambda image, landmarks, index: cv2.GaussianBlur(image, (0, 0), 2.5)))
    assert blurred["ssim"] < 0.97 and blurred["mouth_ssim"] < 0.95
    assert blurred["mouth_psnr"] < 40
    count = moment.source.info.frame_count
    images = moment.source.images  # type: ignore[attr-defined]
    late = replace(moment, source=Frames([images[max(0, index - 3)] for index in range(count)]))
    scores = score("pixels", late)
    assert scores["mouth_psnr"] < 35
    # With the frame mapping of the scene there is no error.
    known = replace(late, sources=np.maximum(0, np.arange(count) - 3))
    assert score("pixels", known)["psnr"] == 100


def test_mouth_rectangle_is_measured_separately(moment: Scene) -> None:
    def corner(image, landmarks, index):
        changed = image.copy()
        changed[:40, :40] ^= 64
        return changed

    def lips(image, landmarks, index):
        changed = image.copy()
        x, y = landmarks[list(mesh478.INNER_LIPS), :2].mean(0).astype(int)
        changed[y - 10 : y + 10, x - 10 : x + 10] ^= 64
        return changed

    far, near = score("pixels", edited(moment, corner)), score("pixels", edited(moment, lips))
    assert far["mouth_psnr"] == 100 and far["mouth_ssim"] == 1 and far["psnr"] < 45
    assert near["mouth_psnr"] < near["psnr"] - 6
    assert near["mouth_ssim"] < near["ssim"] - 0.02


def test_frames_of_another_size_are_rejected(moment: Scene) -> None:
    small = edited(moment, lambda image, landmarks, index: cv2.resize(image, (300, 300)))
    with pytest.raises(InputError, match="300x300.*590x590") as error:
        score("pixels", small)
    assert error.value.code == "size-mismatch"


def test_decibels() -> None:
    assert decibels(0.0) == 100
    assert decibels(255.0**2) == pytest.approx(0)
    assert np.isnan(decibels(float("nan")))
