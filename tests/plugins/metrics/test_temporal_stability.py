"""The metric ``steadiness`` on known changes of tint, seam and background."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from retalkit.errors import InputError
from retalkit.metrics.scene import Scene, scored_frames
from retalkit.stages import Analysis
from retalkit_metrics.face_regions import outside_face
from retalkit_metrics.meters.image_quality import mouth_region

from tests.plugins.metrics.scenes import edited, score


def lighter(image: np.ndarray, mask: np.ndarray, levels: float) -> np.ndarray:
    """Add ``levels`` where the mask is 1."""
    return np.clip(np.round(image + mask[..., None] * levels), 0, 255).astype(np.uint8)


def dim(scene: Scene) -> Scene:
    """Return the clip with reduced contrast, so that changes are not clipped."""
    half = edited(scene, lambda image, landmarks, index: image // 2 + 50).source
    return replace(scene, source=half, original=half)


def test_unchanged_clip_has_no_artifacts(moment: Scene) -> None:
    scores = score("steadiness", moment)
    assert scores["ring_flicker"] == scores["seam_energy"] == 1
    assert scores["flicker_coarse"] == scores["flicker_fine"] == scores["outside_change"] == 0


def test_alternating_tint_is_coarse_flicker(moment: Scene) -> None:
    scene = dim(moment)
    tints = np.where(np.arange(16) % 2, 4.0, -4.0)
    everywhere = np.ones(scene.source.info.height * scene.source.info.width).reshape(scene.source.info.height, -1)
    # Alternates by +-4: each frame differs by 8 from the mean of its neighbours.
    alternating = score("steadiness", edited(scene, lambda image, _, index: lighter(image, everywhere, tints[index])))
    assert alternating["flicker_coarse"] == pytest.approx(8, rel=0.05)
    assert alternating["flicker_fine"] < 0.5
    assert alternating["ring_flicker"] > 1.2
    constant = score("steadiness", edited(scene, lambda image, _, index: lighter(image, everywhere, 8.0)))
    assert constant["flicker_coarse"] < 0.1
    assert constant["ring_flicker"] == pytest.approx(1, abs=0.02)


def test_new_noise_in_every_frame_is_fine_flicker(moment: Scene) -> None:
    def grain(image, landmarks, index):
        noise = np.random.default_rng(index).normal(0, 6, image.shape)
        return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)

    scores = score("steadiness", edited(dim(moment), grain))
    assert scores["flicker_fine"] > 2
    assert scores["flicker_coarse"] < 0.3


def test_moving_lips_are_not_flicker(moment: Scene) -> None:
    def lips(image, landmarks, index):
        centre = landmarks[[13, 14], :2].mean(0)
        changed = image.copy()
        cv2.circle(changed, (int(centre[0]), int(centre[1])), 12, (90, 20, 20) if index % 2 else (220, 160, 160), -1)
        return changed

    scores = score("steadiness", edited(moment, lips))
    assert scores["flicker_fine"] < 0.3


def test_hard_border_is_a_seam(moment: Scene) -> None:
    def pasted(image, landmarks, index):
        return lighter(image, (mouth_region(landmarks, image.shape) > 0.5).astype(float), 25)

    assert score("steadiness", edited(dim(moment), pasted))["seam_energy"] > 1.5

    def blurred(image, landmarks, index):
        return cv2.GaussianBlur(image, (0, 0), 3)

    assert score("steadiness", edited(moment, blurred))["seam_energy"] < 0.9


def test_only_change_outside_the_face_counts_as_outside(moment: Scene) -> None:
    def corner(image, landmarks, index):
        changed = image.copy()
        changed[:30, :50] += 10
        return changed

    scene = dim(moment)
    masks = [outside_face([frame.landmarks], frame.image.shape, 1.25) for frame in scored_frames(scene)]
    share = np.mean([30 * 50 / np.count_nonzero(mask) for mask in masks])
    assert score("steadiness", edited(scene, corner))["outside_change"] == pytest.approx(10 * share, rel=0.01)

    def mouth(image, landmarks, index):
        return lighter(image, mouth_region(landmarks, image.shape), 30)

    assert score("steadiness", edited(scene, mouth))["outside_change"] == 0


def test_whole_frame_counts_without_a_face(moment: Scene) -> None:
    lost = np.full((478, 3), np.nan, np.float32)
    assert (outside_face([lost, lost], (20, 30, 3), 1.25) == 255).all()
    no_face = replace(moment, output=None, original_analysis=None)
    scores = score("steadiness", edited(no_face, lambda image, _, index: image ^ 1))
    assert scores["outside_change"] == 1
    assert math.isnan(scores["seam_energy"]) and math.isnan(scores["flicker_coarse"])


class PatchedAnalysis:
    """Analysis with some methods replaced."""

    def __init__(self, inner: Analysis | None, **methods: Callable[[int, int], np.ndarray]) -> None:
        self._inner = inner
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._inner, name)


def second_half_lighter(image: np.ndarray, landmarks: np.ndarray, index: int) -> np.ndarray:
    return lighter(image, np.ones(image.shape[:2]), 30.0 if index >= 8 else 0.0)


def test_cut_is_not_flicker(moment: Scene) -> None:
    scene = edited(dim(moment), second_half_lighter)
    jump = score("steadiness", scene)
    assert jump["flicker_coarse"] > 1 and jump["ring_flicker"] > 1.2
    two_shots: Any = PatchedAnalysis(
        scene.output, tracks=lambda start, stop: (np.arange(start, stop) // 8).astype(np.int32)
    )
    cut = score("steadiness", replace(scene, output=two_shots))
    assert cut["flicker_coarse"] < 0.1 and cut["ring_flicker"] < 1.05


def test_frames_around_a_missing_face_are_not_compared(moment: Scene) -> None:
    scene = edited(dim(moment), second_half_lighter)

    def landmarks(start: int, stop: int) -> np.ndarray:
        rows = scene.original_analysis.landmarks(start, stop).copy()  # type: ignore[union-attr]
        rows[np.arange(start, stop) == 8] = np.nan
        return rows

    lost: Any = PatchedAnalysis(scene.original_analysis, landmarks=landmarks)
    scores = score("steadiness", replace(scene, original_analysis=lost))
    assert scores["flicker_coarse"] < 0.1 and scores["ring_flicker"] < 1.05


def test_face_region_is_a_quarter_larger_than_the_mesh() -> None:
    generator = np.random.default_rng(4)
    face = generator.uniform(40, 60, (478, 3)).astype(np.float32)
    face[:4, :2] = [[40, 40], [60, 40], [60, 60], [40, 60]]
    inside = np.count_nonzero(outside_face([face], (100, 100, 3), 1.25) == 0)
    assert inside == pytest.approx(25 * 25, rel=0.1)


def test_frames_of_another_size_are_rejected(moment: Scene) -> None:
    with pytest.raises(InputError, match="300x300"):
        score("steadiness", edited(moment, lambda image, landmarks, index: cv2.resize(image, (300, 300))))
