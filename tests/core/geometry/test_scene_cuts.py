"""Scene cuts on real clips, and on motion and exposure changes that are not cuts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.geometry.scene_cuts import CutDetector, thumbnail
from retalkit.media.sources import open_source

Image = NDArray[np.uint8]

CUTS = [20, 82, 211]
"""First frames of the shots of the clip with cuts, annotated by hand."""


def detect_cuts(frames: Iterable[Image]) -> list[int]:
    detector = CutDetector()
    return [index for index, frame in enumerate(frames) if detector.is_cut(frame)]


def frames_of(path: Path, start: int = 0, stop: int | None = None, step: int = 1) -> Iterable[Image]:
    source = open_source(path)
    for _, image in source.read(range(start, stop or source.info.frame_count, step)):
        yield image


@pytest.fixture
def scene() -> Image:
    """An image with structure at all scales, 400 x 900."""
    generator = np.random.default_rng(3)
    total = np.zeros((400, 900, 3), np.float32)
    for size in (6, 15, 40, 120):
        noise = generator.normal(0, 30, (400 // size + 2, 900 // size + 2, 3)).astype(np.float32)
        total += cv2.resize(noise, (900, 400), interpolation=cv2.INTER_CUBIC)
    return np.clip(total + 120, 0, 255).astype(np.uint8)


def test_real_cuts_are_detected(shared_media: Path) -> None:
    assert detect_cuts(frames_of(shared_media / "cuts_and_faceless_640x360p2997.mp4")) == CUTS


@pytest.mark.parametrize("name", ["talk_man_700p22", "talk_woman_590p25", "silent_woman_1280x720p30"])
def test_talking_head_has_no_cut(shared_media: Path, name: str) -> None:
    assert detect_cuts(frames_of(shared_media / f"{name}.mp4", 0, 120)) == []


def test_concatenated_clips_are_cut_at_the_joins(shared_media: Path) -> None:
    names = ["talk_man_700p22", "talk_woman_590p25", "silent_woman_1280x720p30", "talk_man_700p22"]
    frames = [
        cv2.resize(image, (320, 240)) for name in names for image in frames_of(shared_media / f"{name}.mp4", 0, 10)
    ]
    assert detect_cuts(frames) == [10, 20, 30]


def test_change_of_view_in_one_scene_is_a_cut(shared_media: Path) -> None:
    clip = shared_media / "cuts_and_faceless_640x360p2997.mp4"
    assert detect_cuts([*frames_of(clip, 95, 105), *frames_of(clip, 195, 205)]) == [10]


def test_fast_pan_is_not_a_cut(scene: Image) -> None:
    assert detect_cuts(scene[50:350, 12 * k : 12 * k + 400] for k in range(40)) == []


def test_still_image_that_starts_to_move_is_not_a_cut(scene: Image) -> None:
    positions = [0] * 10 + [25 * k for k in range(1, 15)]
    assert detect_cuts(scene[50:350, x : x + 400] for x in positions) == []


def test_pan_faster_than_the_search_range_is_not_a_cut(scene: Image) -> None:
    speeds = [4 * k for k in range(16)]
    positions = np.cumsum(speeds)
    assert speeds[-1] * 48 / 400 > 7  # thumbnail pixels per frame
    assert detect_cuts(scene[50:350, x : x + 400] for x in positions) == []


def test_exposure_changes_are_not_cuts(scene: Image) -> None:
    gains = [1.0] * 8 + [1.8] + [1.0] * 8 + [0.5] * 5
    assert detect_cuts(np.clip(scene * gain, 0, 255).astype(np.uint8) for gain in gains) == []


def test_white_flash_is_not_a_cut(scene: Image) -> None:
    assert detect_cuts([scene] * 6 + [np.full_like(scene, 255)] + [scene] * 6) == []


def test_fade_to_black_and_back_is_not_a_cut(scene: Image) -> None:
    assert detect_cuts((scene * (abs(k - 10) / 10)).astype(np.uint8) for k in range(21)) == []


def test_black_between_two_scenes_is_one_cut(scene: Image) -> None:
    black = np.zeros_like(scene)
    other = np.ascontiguousarray(scene[::-1, ::-1])
    assert detect_cuts([scene] * 5 + [black] * 4 + [other] * 5) == [9]


def test_weak_cut_soon_after_a_strong_one_is_detected(shared_media: Path, scene: Image) -> None:
    clip = shared_media / "cuts_and_faceless_640x360p2997.mp4"
    stage = [*frames_of(clip, 95, 98), *frames_of(clip, 195, 200)]
    assert detect_cuts([*[scene[:360, :640]] * 6, *stage]) == [6, 9]


def test_two_consecutive_cuts_are_both_detected(scene: Image) -> None:
    views = [scene[:200, :300], scene[200:, 300:600], scene[:200, 600:]]
    assert detect_cuts([views[0]] * 6 + [views[1]] + [views[2]] * 6) == [6, 7]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (31, 33), (109, 217)])
def test_any_image_size(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    assert thumbnail(image).shape == (27, 48, 3)
    assert detect_cuts([image, image, image]) == []


def test_thumbnail_contains_area_means() -> None:
    image = np.full((54, 96, 3), (10, 20, 30), np.uint8)
    image[:, 48:] = (200, 100, 50)
    small = thumbnail(image)
    assert np.allclose(small[:, :24], (10, 20, 30))
    assert np.allclose(small[:, 24:], (200, 100, 50))
