"""The metric ``sharpness`` on edges of known width, increasing blur, and softened or noisy skin."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from retalkit.metrics.scene import Scene, scored_frames
from retalkit_metrics.cpbd import cpbd, edge_widths
from retalkit_metrics.meters.image_quality import mouth_region
from retalkit_metrics.sharpness import face_cpbd

from tests.plugins.metrics.scenes import edited, score


def ramps(width: int, low: int, high: int) -> np.ndarray:
    """Return vertical edges of ``width`` pixels between two grey levels, uint8 [128, 128]."""
    period = np.concatenate(
        [np.full(20, low), np.linspace(low, high, width + 1)[1:-1], np.full(20, high)],
    )
    row = np.resize(np.concatenate([period, period[::-1]]), 128)
    return np.tile(np.round(row), (128, 1)).astype(np.uint8)


@pytest.mark.parametrize(
    ("width", "low", "high", "expected"),
    [
        (1, 20, 220, 1.0),
        (3, 20, 220, 1.0),
        (4, 20, 220, 0.0),
        (10, 20, 220, 0.0),
        # The just noticeable width is 5 pixels at low contrast.
        (4, 100, 140, 1.0),
        (8, 100, 140, 0.0),
    ],
)
def test_cpbd_of_edges_of_known_width(width: int, low: int, high: int, expected: float) -> None:
    assert cpbd(ramps(width, low, high)) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("width", [2, 4, 7])
def test_edge_width_is_the_width_of_the_ramp(width: int) -> None:
    found = edge_widths(ramps(width, 20, 220).astype(np.float64))
    assert set(np.unique(found[found > 0])) == {width}


def test_image_without_edges_gives_nan() -> None:
    assert math.isnan(cpbd(np.full((128, 128), 90, np.uint8)))
    assert math.isnan(cpbd(ramps(1, 20, 220)[:50]))


def test_cpbd_of_a_face_decreases_with_blur(moment: Scene) -> None:
    frame = next(iter(scored_frames(moment)))
    values = [
        face_cpbd(cv2.GaussianBlur(frame.image, (0, 0), spread) if spread else frame.image, frame.landmarks)
        for spread in (0, 0.8, 1.2, 2, 4)
    ]
    assert all(later < earlier for earlier, later in zip(values, values[1:], strict=False)), values
    assert values[-1] < 0.05


def test_unchanged_clip_is_as_sharp_as_the_original(moment: Scene) -> None:
    scores = score("sharpness", moment)
    assert scores["skin_sharpness"] == pytest.approx(1)
    assert scores["cpbd"] > 0.1


def test_softened_and_noisy_skin(moment: Scene) -> None:
    def soften(image, landmarks, index):
        mask = mouth_region(landmarks, image.shape)[..., None]
        return np.round(image * (1 - mask) + cv2.GaussianBlur(image, (0, 0), 1.5) * mask).astype(np.uint8)

    def add_noise(image, landmarks, index):
        noise = np.random.default_rng(index).normal(0, 8, image.shape)
        return np.clip(image + noise, 0, 255).astype(np.uint8)

    assert score("sharpness", edited(moment, soften))["skin_sharpness"] < 0.6
    assert score("sharpness", edited(moment, add_noise))["skin_sharpness"] > 1.5


def test_cpbd_does_not_need_the_unedited_clip(moment: Scene) -> None:
    scores = score("sharpness", replace(moment, original=None, original_analysis=None))
    assert scores["cpbd"] > 0.1
    assert math.isnan(scores["skin_sharpness"])
