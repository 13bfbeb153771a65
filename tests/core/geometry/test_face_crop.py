"""The square face crop: as published for a single frame, smoothed inside a shot for a clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.errors import PlanError
from retalkit.geometry.face_crop import (
    crop_boxes,
    crop_boxes_at,
    crop_face,
    crop_matrix,
    face_squares,
    points_in_crop,
    square_boxes,
)
from retalkit.stages import SourceInfo

Float = NDArray[np.float32]
WIDTH, HEIGHT = 640, 480


@dataclass
class Clip:
    """Implements ``Analysis`` and ``Source`` over landmarks in memory."""

    points: Float
    numbers: NDArray[np.int32]
    stamps: NDArray[np.float64]
    landmark_scheme: str = "ibug68"
    coefficient_space: str = ""
    longest_read: int = 0

    @property
    def source(self) -> Clip:
        return self

    @property
    def info(self) -> SourceInfo:
        return SourceInfo(WIDTH, HEIGHT, len(self.points), float(self.stamps[-1]) + 0.04)

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        return self.stamps[start:stop]

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        raise AssertionError("face crops must not read frames")

    def landmarks(self, start: int, stop: int) -> Float:
        self.longest_read = max(self.longest_read, stop - start)
        return self.points[start:stop]

    def coefficients(self, start: int, stop: int) -> Float:
        return np.zeros((stop - start, 0), np.float32)

    def boxes(self, start: int, stop: int) -> Float:
        raise AssertionError("face crops must not read boxes")

    def tracks(self, start: int, stop: int) -> NDArray[np.int32]:
        return self.numbers[start:stop]


def synthetic_face() -> Float:
    """float32 [68, 3]: an upright face of about 120 pixels around (0, 0)."""
    face = np.random.default_rng(3).uniform(-60, 60, (68, 3)).astype(np.float32)
    face[36:42, :2] = (-30, -25) + np.array([(-10, 0), (-4, -4), (4, -4), (10, 0), (4, 4), (-4, 4)])
    face[42:48, :2] = (30, -25) + np.array([(-10, 0), (-4, -4), (4, -4), (10, 0), (4, 4), (-4, 4)])
    face[[48, 54], :2] = ((-24, 38), (24, 38))
    return face


def synthetic_clip(path: NDArray[np.float64], numbers: NDArray[np.int32], rate: float = 25.0) -> Clip:
    """The synthetic face moved along ``path`` [T, 2]; no face where the shot number is -1."""
    points = synthetic_face()[None] + np.pad(path, ((0, 0), (0, 1)))[:, None].astype(np.float32)
    points[numbers < 0] = np.nan
    return Clip(points, numbers, np.arange(len(path)) / rate)


def still(count: int) -> NDArray[np.float64]:
    return np.full((count, 2), (301.3, 222.7))


def centres(boxes: Float) -> Float:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


@pytest.fixture
def clip() -> Clip:
    """340 frames: a swaying head, a gap, a second head at another position, a cut, a third head."""
    time = np.arange(340) / 25
    path = np.column_stack([320 + 60 * np.sin(time * 1.3), 240 + 20 * np.sin(time * 2.1)])
    numbers = np.zeros(340, np.int32)
    numbers[100:110], numbers[110:200], numbers[200:] = -1, 1, 2
    path[110:200] -= (150, 80)
    path[200:] += (130, 60)
    return synthetic_clip(path, numbers)


@pytest.mark.parametrize("case", ["a", "b", "edge", "big"])
def test_single_frame_matches_published_box(shared_parity: Path, case: str) -> None:
    with np.load(shared_parity / "pure_geometry.npz") as published:
        landmarks = published[f"crop_lm_{case}"]
        crop, inner = published[f"crop_crop_{case}"], published[f"crop_quad_{case}"].astype(int)
    expected = [*(crop[:2] + inner[:2]), min(crop[0] + inner[2], 1280), min(crop[1] + inner[3], 720)]
    box = square_boxes(face_squares(landmarks[None].astype(np.float32)), 1280, 720)
    assert box.dtype == np.float32
    assert box[0].tolist() == expected


def test_static_head_has_a_constant_box() -> None:
    clip = synthetic_clip(still(120), np.zeros(120, np.int32))
    boxes = crop_boxes(clip, 0, 120)
    assert np.array_equal(boxes, np.repeat(square_boxes(face_squares(clip.points[:1]), WIDTH, HEIGHT), 120, axis=0))
    assert np.array_equal(boxes, np.round(boxes))


def test_landmark_jitter_is_smoothed() -> None:
    rng = np.random.default_rng(0)
    clip = synthetic_clip(still(150) + rng.normal(0, 2, (150, 2)), np.zeros(150, np.int32))
    raw = square_boxes(face_squares(clip.points), WIDTH, HEIGHT)
    boxes = crop_boxes(clip, 0, 150)
    assert np.ptp(raw, axis=0).min() >= 6
    assert np.ptp(boxes[25:-25], axis=0).max() <= 2


def test_box_follows_a_moving_head() -> None:
    path = np.column_stack([np.linspace(150, 500, 150), np.full(150, 240.0)])
    clip = synthetic_clip(path, np.zeros(150, np.int32))
    squares = face_squares(clip.points)
    boxes = crop_boxes(clip, 0, 150)
    assert np.abs(centres(boxes) - squares[:, :2]).max() < 20
    assert np.abs(centres(boxes) - squares[:, :2])[30:-30].max() <= 1


def test_box_does_not_depend_on_the_requested_range(clip: Clip) -> None:
    whole = crop_boxes(clip, 0, 340)
    for size in (1, 7, 64):
        parts = [crop_boxes(clip, start, min(start + size, 340)) for start in range(0, 340, size)]
        assert np.array_equal(np.concatenate(parts), whole, equal_nan=True)
    assert crop_boxes(clip, 5, 5).shape == (0, 4)


def test_frames_can_be_requested_in_any_order(clip: Clip) -> None:
    indexes = np.array([250, 3, 4, 105, 4, 199, 200, 2])
    assert np.array_equal(crop_boxes_at(clip, indexes), crop_boxes(clip, 0, 340)[indexes], equal_nan=True)
    assert crop_boxes_at(clip, np.zeros(0, np.int64)).shape == (0, 4)


def test_frames_without_face_have_no_box(clip: Clip) -> None:
    clip.points[40] = np.nan
    boxes = crop_boxes(clip, 0, 340)
    empty = np.isnan(boxes).all(axis=1)
    assert np.flatnonzero(empty).tolist() == [40, *range(100, 110)]
    assert np.isfinite(boxes[~empty]).all()


def test_smoothing_stops_at_cuts_and_gaps(clip: Clip) -> None:
    before = crop_boxes(clip, 0, 340)
    clip.points[110:200] += 50
    after = crop_boxes(clip, 0, 340)
    others = np.r_[0:110, 200:340]
    assert np.array_equal(after[others], before[others], equal_nan=True)
    assert np.abs(after[110:200] - before[110:200] - 50).max() <= 1


def test_smoothing_window_is_in_seconds(clip: Clip) -> None:
    time = np.arange(120) / 25
    path = np.column_stack([300 + 40 * np.sin(time * 3), np.full(120, 240.0)])
    slow = crop_boxes(synthetic_clip(path, np.zeros(120, np.int32)), 0, 120)
    between = np.column_stack([np.interp(np.arange(0, 119.5, 0.5), np.arange(120), path[:, k]) for k in (0, 1)])
    fast = crop_boxes(synthetic_clip(between, np.zeros(239, np.int32), 50.0), 0, 239)
    assert np.abs(fast[::2] - slow).max() <= 1


def test_long_clip_is_read_in_chunks() -> None:
    clip = synthetic_clip(still(2000), np.zeros(2000, np.int32))
    assert np.isfinite(crop_boxes(clip, 0, 2000)).all()
    assert clip.longest_read <= 400


def test_boxes_are_clipped_and_never_empty() -> None:
    face = synthetic_face()
    turned = face * (-1, -1, 1)
    faces = np.stack([face + (10, 10, 0), face + (WIDTH + 400, 100, 0), turned + (320, 240, 0), np.zeros_like(face)])
    boxes = square_boxes(face_squares(faces), WIDTH, HEIGHT)
    assert (boxes[0, :2] == 0).all() and (boxes[0, 2:] > 50).all()
    assert np.isnan(boxes[[1, 3]]).all()
    upright = square_boxes(face_squares(face[None] + (320, 240, 0)), WIDTH, HEIGHT)[0]
    assert np.array_equal(boxes[2, 2:] - boxes[2, :2], upright[2:] - upright[:2])


def test_unsupported_landmark_scheme_is_rejected(clip: Clip) -> None:
    clip.landmark_scheme = "points5"
    with pytest.raises(PlanError, match="points5.*ibug68") as error:
        crop_boxes(clip, 0, 10)
    assert error.value.code == "unsupported-conversion"


def test_frame_point_is_mapped_into_the_crop() -> None:
    box = np.array([100, 50, 300, 330], np.float32)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[199:202, 179:182] = 255
    crop = crop_face(image, box).astype(float)[..., 0]
    assert crop.shape == (256, 256)
    rows, columns = np.mgrid[:256, :256]
    found = np.array([(columns * crop).sum(), (rows * crop).sum()]) / crop.sum()
    assert np.allclose(points_in_crop(np.array([180.0, 200.0, 7.0]), box), found, atol=0.05)
    assert np.allclose(crop_matrix(box) @ (180, 200, 1), found, atol=0.05)
