"""Flicker of a face with known results, on a synthetic moving head and on frames of a real clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose, person_template, rigid_fit, to_pixels
from retalkit.media.sources import open_source
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover
from retalkit.stages import FrameBatch, SourceInfo, StageContext, StageKind
from retalkit.storage.cache import Folder
from retalkit_metrics.meters.flicker import Flicker, FlickerMeter

SIZE = 240
FRAMES = 14
Change = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""(frame, landmarks, index) -> output frame."""


@dataclass(frozen=True)
class Clip:
    """Frames, landmarks and poses of one person."""

    images: list[np.ndarray]
    landmarks: np.ndarray
    template: np.ndarray

    @property
    def poses(self) -> HeadPose:
        stable = list(mesh478.STABLE)
        return rigid_fit(self.landmarks[:, stable], self.template[stable])


def synthetic_head() -> np.ndarray:
    """Return a flat face in the head frame."""
    head = np.zeros((478, 3), np.float32)
    head[:, :2] = np.random.default_rng(0).uniform(-0.5, 0.5, (478, 2))
    turn = np.linspace(0, 2 * np.pi, len(mesh478.FACE_OVAL), endpoint=False)
    head[list(mesh478.FACE_OVAL), :2] = np.stack([0.75 * np.sin(turn), 0.25 - 0.95 * np.cos(turn)], 1)
    turn = np.linspace(0, 2 * np.pi, len(mesh478.OUTER_LIPS), endpoint=False)
    head[list(mesh478.OUTER_LIPS), :2] = np.stack([0.25 * np.cos(turn), 0.6 + 0.1 * np.sin(turn)], 1)
    return head


@pytest.fixture(scope="module")
def synthetic() -> Clip:
    """Return a texture that moves with the head, with independent noise in every frame."""
    noise = np.random.default_rng(1)
    texture = cv2.GaussianBlur(noise.integers(0, 255, (SIZE, SIZE, 3)).astype(np.float32), (0, 0), 1.0) * 0.5 + 60
    images, points = [], []
    for index in range(FRAMES):
        x, y = 1.5 * index, float(index)
        matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
        moved = cv2.warpAffine(texture, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)
        light = np.sin(index)
        images.append(as_image(moved + light + noise.normal(0, 1, moved.shape)))
        shift = np.array([[110 + x, 90 + y, 0]], np.float32)
        pose = HeadPose(np.array([90], np.float32), np.eye(3, dtype=np.float32)[None], shift)
        points.append(to_pixels(synthetic_head(), pose)[0])
    return Clip(images, np.stack(points), synthetic_head())


@pytest.fixture(scope="module")
def real(shared_media: Path, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Return the tracked beginning of a talking-head clip."""
    source = open_source(shared_media / "talk_woman_590p25.mp4")
    images = [image for _, image in source.read(range(FRAMES))]
    spec = discover().find(StageKind.DETECTOR, "mediapipe").spec
    info = SourceInfo(images[0].shape[1], images[0].shape[0], len(images), len(images) / 25)
    session = spec.make(spec.config()).open(info, StageContext(Folder(tmp_path_factory.mktemp("d")), SilentObserver()))
    found = [
        session.detect(FrameBatch(image[None], np.zeros(1), np.array([index])))[0][0].landmarks
        for index, image in enumerate(images)
    ]
    session.close()
    points = np.stack(found)
    return Clip(images, points, person_template(points))


@pytest.fixture(params=["synthetic", "real"])
def clip(request: pytest.FixtureRequest) -> Clip:
    return request.getfixturevalue(request.param)


def as_image(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def measure(clip: Clip, change: Change, mouth: bool = True) -> Flicker:
    meter, poses = FlickerMeter(clip.template, mouth), clip.poses
    for index, image in enumerate(clip.images):
        output = change(image, clip.landmarks[index], index)
        meter.add(image, output, poses[index : index + 1])
    return meter.result()


def same(image: np.ndarray, points: np.ndarray, index: int) -> np.ndarray:
    return image.copy()


def tinted(image: np.ndarray, points: np.ndarray, index: int) -> np.ndarray:
    return as_image(image + np.random.default_rng(index).normal(0, 4, 3))


def grainy(image: np.ndarray, points: np.ndarray, index: int) -> np.ndarray:
    return as_image(image + np.random.default_rng(index).normal(0, 4, image.shape))


def test_unchanged_video_has_no_flicker(clip: Clip) -> None:
    found = measure(clip, same)
    assert found.total == found.coarse == found.fine == 1
    assert found.added == found.added_coarse == found.added_fine == 0
    assert found.frames == FRAMES - 1


def test_constant_tint_is_not_flicker(clip: Clip) -> None:
    # Reduced contrast, so that nothing is clipped.
    middle = Clip([as_image(image * 0.8 + 20) for image in clip.images], clip.landmarks, clip.template)
    found = measure(middle, lambda image, points, index: as_image(image + np.array([10.0, -4.0, 8.0])))
    assert (found.total, found.coarse, found.fine) == pytest.approx((1, 1, 1), abs=1e-3)
    assert max(found.added, found.added_coarse, found.added_fine) < 0.01


def test_random_tint_per_frame_is_coarse_flicker(clip: Clip) -> None:
    found = measure(clip, tinted)
    # Mean over three channels and a dozen frames of normal values with a standard deviation of 4.
    assert found.added == pytest.approx(4, rel=0.35)
    assert found.added_coarse == pytest.approx(found.added, rel=0.03)
    assert found.added_fine < 0.1 * found.added
    assert found.coarse > 2
    assert found.total > 1.2
    assert found.fine == pytest.approx(1, abs=0.1)


def test_random_grain_per_frame_is_fine_flicker(clip: Clip) -> None:
    found = measure(clip, grainy)
    assert found.added_fine > 1.5
    assert found.added_coarse < 0.1 * found.added_fine
    assert found.fine > 1.15
    assert found.coarse == pytest.approx(1, abs=0.05)


def test_grain_fixed_to_the_head_is_not_flicker(clip: Clip) -> None:
    """Detail at the same position on the face in every frame moves with the head."""
    grain = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 40, (256, 256)), (0, 0), 2)
    poses = clip.poses

    def fixed(image: np.ndarray, points: np.ndarray, index: int) -> np.ndarray:
        corners = np.array([[-0.8, -0.8, 0], [0.8, -0.8, 0], [-0.8, 1.2, 0]], np.float32)
        pixels = np.ascontiguousarray(to_pixels(corners, poses[index : index + 1])[0, :, :2])
        matrix = cv2.getAffineTransform(np.array([[0, 0], [256, 0], [0, 256]], np.float32), pixels)
        return as_image(image + cv2.warpAffine(grain, matrix, image.shape[1::-1])[..., None])

    def flashing(image: np.ndarray, points: np.ndarray, index: int) -> np.ndarray:
        return fixed(image, points, index) if index % 2 else image

    constant, flashing_grain = measure(clip, fixed), measure(clip, flashing)
    assert constant.added_fine < 0.25 * flashing_grain.added_fine
    assert constant.fine < flashing_grain.fine


def test_linear_brightening_adds_nothing_but_jumps_do(clip: Clip) -> None:
    dark = Clip([as_image(image * 0.7) for image in clip.images], clip.landmarks, clip.template)
    grows = measure(dark, lambda image, points, index: as_image(image + 3.0 * index))
    jumps = measure(dark, lambda image, points, index: as_image(image + 3.0 * (index * 5 % FRAMES)))
    assert grows.added < 0.05
    # The ratio counts any change, also a linear one.
    assert grows.coarse > 1.5
    assert jumps.added > 5


def moving_lips(image: np.ndarray, points: np.ndarray, index: int) -> np.ndarray:
    """Draw a dark mouth that opens and closes three times a second, as in speech."""
    lips = points[list(mesh478.OUTER_LIPS), :2]
    wide, open_ = float(np.ptp(lips[:, 0])), 0.5 + 0.5 * np.sin(2 * np.pi * 3 * index / 25)
    output = image.copy()
    centre = tuple(int(value) for value in np.round(lips.mean(0) * 16))
    axes = (round(0.45 * wide * 16), round((0.03 + 0.2 * open_) * wide * 16))
    cv2.ellipse(output, centre, axes, 0, 0, 360, (60, 20, 25), -1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(output, (0, 0), 1.0)


def test_new_lips_are_not_flicker(clip: Clip) -> None:
    lips, tint = measure(clip, moving_lips), measure(clip, tinted)
    assert lips.added_coarse < 0.1 * tint.added_coarse
    without = measure(clip, moving_lips, mouth=False)
    assert without.added_coarse < 0.5 * lips.added_coarse
    # Excluding the lips must not exclude the flicker.
    assert measure(clip, tinted, mouth=False).added == pytest.approx(tint.added, rel=0.05)


def test_change_outside_the_face_is_ignored(synthetic: Clip) -> None:
    def outside(image: np.ndarray, points: np.ndarray, index: int) -> np.ndarray:
        face = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(face, [np.round(points[list(mesh478.FACE_OVAL), :2]).astype(np.int32)], [1.0])
        changed = np.where(cv2.dilate(face, np.ones((3, 3), np.uint8))[..., None] > 0, image, 255 * (index % 2))
        return changed.astype(np.uint8)

    found = measure(synthetic, outside)
    assert found.total == 1
    assert found.added == 0


def test_visible_part_of_a_cropped_face_counts(synthetic: Clip) -> None:
    half = Clip([image[:110] for image in synthetic.images], synthetic.landmarks, synthetic.template)
    found = measure(half, tinted)
    assert found.added == pytest.approx(measure(synthetic, tinted).added, rel=0.05)
    outside = Clip(synthetic.images, synthetic.landmarks + np.float32([1000, 0, 0]), synthetic.template)
    nothing = measure(outside, tinted)
    assert np.isnan([nothing.total, nothing.added]).all()
    assert nothing.frames == 0


def test_cut_is_not_flicker(synthetic: Clip) -> None:
    meter, lost = FlickerMeter(synthetic.template), synthetic.poses
    lost.scale[3] = np.nan
    for index, image in enumerate(synthetic.images):
        if index == 7:
            meter.cut()
        # Each of the three parts has another brightness.
        part = (index > 3) + (index >= 7)
        meter.add(image, as_image(image * 0.6 + 40 * part), lost[index : index + 1])
    found = meter.result()
    assert found.frames == 2 + 2 + (FRAMES - 8)
    assert found.added_coarse < 0.15
    assert found.coarse < 1


def test_static_original_has_only_added_flicker(synthetic: Clip) -> None:
    count = len(synthetic.images)
    still = Clip([synthetic.images[0]] * count, np.repeat(synthetic.landmarks[:1], count, 0), synthetic.template)
    found = measure(still, tinted)
    assert np.isnan([found.total, found.coarse, found.fine]).all()
    assert found.added > 2


def test_different_shapes_are_rejected(synthetic: Clip) -> None:
    with pytest.raises(ValueError, match="shape"):
        FlickerMeter(synthetic.template).add(synthetic.images[0], synthetic.images[0][:-1], synthetic.poses[:1])
