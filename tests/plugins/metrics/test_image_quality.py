"""Image quality scores on a moving textured face-like pattern."""

import cv2
import numpy as np
import pytest
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose, to_pixels
from retalkit_metrics.meters.image_quality import ImageQuality, ImageQualityMeter, mouth_region

SIZE = 240


def face() -> np.ndarray:
    """Return a flat face in the head frame with the landmarks that the meter reads."""
    head = np.zeros((478, 3), np.float32)
    head[:, 1] = 0.2
    head[mesh478.FOREHEAD] = (0, -0.7, 0)
    head[mesh478.CHIN] = (0, 1.2, 0)
    ring = np.linspace(0, 2 * np.pi, len(mesh478.AROUND_MOUTH), endpoint=False)
    head[list(mesh478.AROUND_MOUTH), :2] = np.stack([0.42 * np.cos(ring), 0.6 + 0.34 * np.sin(ring)], 1)
    lips = np.linspace(0, 2 * np.pi, len(mesh478.OUTER_LIPS), endpoint=False)
    head[list(mesh478.OUTER_LIPS), :2] = np.stack([0.25 * np.cos(lips), 0.6 + 0.1 * np.sin(lips)], 1)
    head[[13, 14], 1] = 0.6
    return head


def clip(count: int = 6) -> list[tuple[np.ndarray, np.ndarray, HeadPose]]:
    """Return frames of a textured pattern that moves with the head, with landmarks and pose."""
    noise = np.random.default_rng(1).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 1.0)
    frames = []
    for index in range(count):
        shift = np.array([120 + 1.5 * index, 80 + index, 0], np.float32)
        matrix = np.array([[1, 0, shift[0] - 120], [0, 1, shift[1] - 80]], np.float32)
        image = cv2.warpAffine(texture, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)
        pose = HeadPose(np.array([100], np.float32), np.eye(3, dtype=np.float32)[None], shift[None])
        frames.append((image, to_pixels(face(), pose)[0], pose))
    return frames


def measure(change, edited: np.ndarray | None = None) -> ImageQuality:
    meter = ImageQualityMeter(face())
    for index, (image, landmarks, pose) in enumerate(clip()):
        meter.add(image, change(image, landmarks, index), landmarks, pose, edited=edited)
    return meter.result()


def blend(image: np.ndarray, other: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.round(image * (1 - mask[..., None]) + other * mask[..., None]).astype(np.uint8)


def test_unchanged_frames_score_one() -> None:
    scores = measure(lambda image, landmarks, index: image.copy(), np.zeros((SIZE, SIZE), np.float32))
    assert scores.skin_sharpness == scores.ring_flicker == scores.seam_energy == 1
    assert scores.outside_change == 0
    assert scores.outside_identical == 1
    assert scores.frames == 6


def test_blur_lowers_skin_sharpness() -> None:
    def soften(image, landmarks, index):
        return blend(image, cv2.GaussianBlur(image, (0, 0), 1.0), mouth_region(landmarks, image.shape))

    assert measure(soften).skin_sharpness < 0.6


def test_only_alternating_brightness_raises_flicker() -> None:
    def alternate(image, landmarks, index):
        other = np.clip(image.astype(int) + (12 if index % 2 else -12), 0, 255)
        return blend(image, other, mouth_region(landmarks, image.shape))

    def constant(image, landmarks, index):
        return blend(image, np.clip(image.astype(int) + 12, 0, 255), mouth_region(landmarks, image.shape))

    assert measure(alternate).ring_flicker > 1.3
    assert measure(constant).ring_flicker == pytest.approx(1, abs=0.1)


def test_hard_edge_raises_seam_energy() -> None:
    def pasted(image, landmarks, index):
        hard = (mouth_region(landmarks, image.shape) > 0.5).astype(np.float32)
        return blend(image, np.clip(image.astype(int) + 60, 0, 255), hard)

    assert measure(pasted).seam_energy > 1.2


def test_change_outside_the_mask_is_measured() -> None:
    def change_rows(image, landmarks, index):
        changed = image.copy()
        changed[:5] ^= 1
        return changed

    scores = measure(change_rows, np.zeros((SIZE, SIZE), np.float32))
    assert scores.outside_identical == pytest.approx(1 - 5 / SIZE)
    assert scores.outside_change == pytest.approx(5 / SIZE)


def test_no_flicker_across_a_cut() -> None:
    frames = clip()
    meter = ImageQualityMeter(face())
    for image, landmarks, pose in frames:
        meter.cut()
        meter.add(image, image, landmarks, pose)
    assert np.isnan(meter.result().ring_flicker)


def test_region_covers_only_the_mouth() -> None:
    image, landmarks, _ = clip(1)[0]
    region = mouth_region(landmarks, image.shape)
    assert region.dtype == np.float32
    assert region.min() == 0
    assert region.max() == 1
    x, y = np.round(landmarks[13, :2]).astype(int)
    assert region[y, x] == 1
    assert region[0, 0] == 0


def test_different_shapes_are_rejected() -> None:
    image, landmarks, pose = clip(1)[0]
    with pytest.raises(ValueError, match="shape"):
        ImageQualityMeter(face()).add(image, image[:-1], landmarks, pose)
