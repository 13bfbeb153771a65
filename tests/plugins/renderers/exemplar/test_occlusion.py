"""The occlusion detector on a portrait with occluders, and on real clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose, person_template, rigid_fit
from retalkit.media.sources import open_source
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover
from retalkit.stages import DetectionClip, FrameBatch, StageContext, StageKind
from retalkit.storage.cache import Folder
from retalkit_renderers.exemplar.occlusion import FaceSample, OcclusionDetector

STABLE = list(mesh478.STABLE)
Frame = tuple[np.ndarray, np.ndarray, HeadPose]


def still_frames(portrait: Any, count: int = 16) -> list[Frame]:
    """Return the portrait with a small shift and a small change of brightness in each frame."""
    template = person_template(portrait.landmarks[None])
    generator = np.random.default_rng(4)
    frames = []
    for index in range(count):
        shift = np.array([3 * np.sin(index), 2 * np.cos(index)], np.float32)
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
        size = portrait.image.shape[1::-1]
        image = cv2.warpAffine(portrait.image, matrix, size, borderMode=cv2.BORDER_REPLICATE).astype(float)
        image = image * (1 + 0.05 * np.sin(index * 0.7)) + generator.normal(0, 1.5, image.shape)
        points = portrait.landmarks + np.array([*shift, 0], np.float32)
        pose = rigid_fit(points[None, STABLE], template[STABLE])
        frames.append((np.clip(image, 0, 255).astype(np.uint8), points, pose))
    return frames


def occluded(frame: Frame, colour: tuple[int, int, int] = (30, 30, 34)) -> tuple[Frame, np.ndarray]:
    """Return the frame with a disc in front of one corner of the mouth, and the mask of the disc."""
    image, points, pose = frame
    height = np.linalg.norm(points[mesh478.CHIN, :2] - points[mesh478.FOREHEAD, :2])
    centre = points[mesh478.RIGHT_CORNER, :2] + np.array([0.0, 0.09 * height])
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.circle(mask, tuple(int(value) for value in centre), int(0.11 * height), 1, -1)
    image = image.copy()
    image[mask > 0] = colour
    return (image, points, pose), mask > 0


def around_mouth(points: np.ndarray) -> tuple[int, int, int, int]:
    height = float(np.linalg.norm(points[mesh478.CHIN, :2] - points[mesh478.FOREHEAD, :2]))
    left, top = (points[13, :2] - 0.4 * height).astype(int)
    return int(left), int(top), int(0.8 * height), int(0.8 * height)


@pytest.fixture(scope="module")
def detector(portrait: Any) -> OcclusionDetector:
    return OcclusionDetector.fit(FaceSample(*each) for each in still_frames(portrait))


def test_mask_is_empty_without_an_occluder(portrait: Any, detector: OcclusionDetector) -> None:
    for image, points, pose in still_frames(portrait, 30)[20:]:
        mask, share = detector.mask(image, points, pose, around_mouth(points))
        assert share == 0
        assert not mask.any()


@pytest.mark.parametrize("colour", [(30, 30, 34), (60, 90, 160), (245, 245, 245)])
def test_disc_is_detected(portrait: Any, detector: OcclusionDetector, colour: tuple[int, int, int]) -> None:
    (image, points, pose), disc = occluded(still_frames(portrait)[3], colour)
    left, top, width, height = around_mouth(points)
    mask, share = detector.mask(image, points, pose, (left, top, width, height))
    assert mask.dtype == np.float32
    assert mask.shape == (height, width)
    assert 0 <= mask.min() <= mask.max() <= 1
    assert share > 0.03
    part = disc[top : top + height, left : left + width]
    lips = np.zeros(disc.shape, np.uint8)
    cv2.fillPoly(lips, [np.round(points[list(mesh478.OUTER_LIPS), :2]).astype(np.int32)], 1)
    on_skin = part & (lips[top : top + height, left : left + width] == 0)
    assert mask[on_skin].mean() > 0.75
    far = cv2.dilate(part.astype(np.uint8), np.ones((41, 41), np.uint8)) == 0
    assert mask[far].mean() < 0.05


def test_fit_tolerates_partly_occluded_samples(portrait: Any) -> None:
    frames = still_frames(portrait, 20)
    partly_occluded = [occluded(frame)[0] if index % 3 == 0 else frame for index, frame in enumerate(frames)]
    detector = OcclusionDetector.fit(FaceSample(*each) for each in partly_occluded)
    (image, points, pose), _ = occluded(frames[4])
    assert detector.mask(image, points, pose, around_mouth(points))[1] > 0.03
    image, points, pose = frames[5]
    assert detector.mask(image, points, pose, around_mouth(points))[1] == 0


def test_smooth_shadow_is_not_an_occluder(portrait: Any, detector: OcclusionDetector) -> None:
    image, points, pose = still_frames(portrait)[2]
    slope = np.linspace(1.0, 0.85, image.shape[1])[None, :, None]
    shaded = (image * slope).astype(np.uint8)
    assert detector.mask(shaded, points, pose, around_mouth(points))[1] < 0.02


def test_lips_and_teeth_are_not_occluders(portrait: Any, detector: OcclusionDetector) -> None:
    image, points, pose = still_frames(portrait)[2]
    image = image.copy()
    cv2.fillPoly(image, [np.round(points[list(mesh478.INNER_LIPS), :2]).astype(np.int32)], (20, 5, 5))
    assert detector.mask(image, points, pose, around_mouth(points))[1] == 0


def test_mask_is_empty_with_too_few_samples(portrait: Any) -> None:
    frames = still_frames(portrait, 3)
    detector = OcclusionDetector.fit(FaceSample(*each) for each in frames)
    (image, points, pose), _ = occluded(frames[0])
    mask, share = detector.mask(image, points, pose, around_mouth(points))
    assert share == 0
    assert not mask.any()


def test_mask_is_empty_without_a_face(portrait: Any, detector: OcclusionDetector) -> None:
    image, points, pose = still_frames(portrait, 1)[0]
    mask, share = detector.mask(image, np.full_like(points, np.nan), pose, (0, 0, 40, 30))
    assert mask.shape == (30, 40)
    assert share == 0


def track(path: Path, wanted: range, folder: Path) -> list[Frame]:
    """Return the frames of a real clip in which a face is detected, with poses of one person."""
    source = open_source(path)
    spec = discover().find(StageKind.DETECTOR, "mediapipe").spec
    context = StageContext(Folder(folder), SilentObserver())
    session = spec.make(spec.config()).open(DetectionClip(source=source.info), context)
    found = []
    for index, image in source.read(wanted):
        faces = session.detect(FrameBatch(image[None], np.zeros(1), np.array([index])))[0]
        if faces:
            found.append((image, max(faces, key=lambda face: float(np.ptp(face.box[[0, 2]]))).landmarks))
    session.close()
    points = np.stack([landmarks for _, landmarks in found])
    pose = rigid_fit(points[:, STABLE], person_template(points)[STABLE])
    return [(image, points[row], pose[row : row + 1]) for row, (image, _) in enumerate(found)]


def test_talking_face_is_not_occluded(shared_media: Path, tmp_path: Path) -> None:
    frames = track(shared_media / "talk_man_700p22.mp4", range(0, 60), tmp_path)
    detector = OcclusionDetector.fit(FaceSample(*each) for each in frames[::3])
    shares = [detector.mask(*frame, around_mouth(frame[1]))[1] for frame in frames[1::3]]
    assert max(shares) < 0.02


def test_microphone_is_detected(shared_media: Path, tmp_path: Path) -> None:
    frames = track(shared_media / "cuts_and_faceless_640x360p2997.mp4", range(84, 206), tmp_path)
    assert len(frames) > 80
    detector = OcclusionDetector.fit(FaceSample(*each) for each in frames[::2])
    shares = [detector.mask(*frame, around_mouth(frame[1]))[1] for frame in frames]
    # The microphone or a hand covers the chin or the lips in most of this track.
    assert np.mean(np.array(shares) > 0.02) > 0.4
