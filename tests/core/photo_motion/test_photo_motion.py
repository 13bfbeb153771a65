"""Head motion and blinks of photos: curves over time, the moved head, and the unchanged background."""

from __future__ import annotations

import time
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from retalkit.geometry import mesh478
from retalkit.observer import SilentObserver
from retalkit.photo_motion.animator import PhotoAnimator, head_geometry
from retalkit.photo_motion.curves import MotionCurves, motion_curves
from retalkit.photo_motion.head_warp import dilated
from retalkit.photo_motion.matte import person_opacity
from retalkit.plugins.discovery import discover
from retalkit.stages import DetectionClip, FrameBatch, PersonSegmenter, SourceInfo, StageContext, StageKind
from retalkit.storage.cache import Folder
from retalkit.testing.fixtures.material import loudness, portrait, speech

LIDS = (159, 145)
"""Upper and lower lid of the viewer's left eye."""


@dataclass
class Talk:
    """Syllables for 1.2 s of every 1.6 s, then a pause of 20 s after a minute, then more syllables."""

    duration: float = 300.0
    loudness: float = -20.0

    def waveform(self, start: float, stop: float) -> np.ndarray:
        times = np.arange(round(start * 16000), round(stop * 16000)) / 16000
        return (speech(1.0)[np.arange(len(times)) % 3200] * self.speaks(times) * loudness(times)).astype(np.float32)

    def activity(self, times: np.ndarray) -> np.ndarray:
        return self.speaks(times).astype(np.float32)

    @staticmethod
    def speaks(times: np.ndarray) -> np.ndarray:
        return (times % 1.6 < 1.3) & ~((times > 60) & (times < 80))


@pytest.fixture(scope="module")
def curves() -> MotionCurves:
    return motion_curves(Talk(), np.arange(300 * 25) / 25, seed=3)


def test_curves_follow_the_speech(curves: MotionCurves) -> None:
    size = np.hypot(curves.yaw, curves.pitch)
    assert curves.yaw[0] == curves.pitch[0] == curves.roll[0] == curves.closure[0] == 0
    times = np.arange(300 * 25) / 25
    paused = (times > 64) & (times < 78)
    assert size[paused].std() < 0.6 * size[~paused].std()
    # The nose moves by about half of the face size per radian.
    assert 0.005 < 0.5 * size.max() < 0.02
    assert np.abs(np.diff(0.5 * size)).max() < 0.004
    # The head is lowest shortly after a loud syllable.
    later = [np.corrcoef(curves.pitch[200:1400], loudness(times[200:1400] - lag))[0, 1] for lag in (0.0, 0.08)]
    assert max(later) > 0.1


def test_blinks_have_a_natural_rate_and_duration(curves: MotionCurves) -> None:
    edges = np.flatnonzero(np.diff((curves.closure > 0).astype(int)))
    durations = (edges[1::2] - edges[::2]) / 25
    assert 12 <= len(durations) / 5 <= 20
    assert durations.min() >= 0.1 and durations.max() <= 0.25
    assert curves.closure.max() > 0.95


def test_curves_depend_on_seed_and_time_only(curves: MotionCurves) -> None:
    times = np.arange(300 * 25) / 25
    part = motion_curves(Talk(), times[1000:1100], seed=3)
    np.testing.assert_array_equal(part.yaw, curves.yaw[1000:1100])
    np.testing.assert_array_equal(part.closure, curves.closure[1000:1100])
    assert not np.array_equal(motion_curves(Talk(), times[1000:1100], seed=4).yaw, part.yaw)


@dataclass
class Scene:
    photo: np.ndarray
    landmarks: np.ndarray
    opacity: np.ndarray
    lines: np.ndarray
    """Pixels of the straight lines behind the person."""

    def animated(self, **constant: float) -> np.ndarray:
        """Return the photo with a constant motion."""
        names = ("yaw", "pitch", "roll", "shift", "closure")
        curves = MotionCurves(*(np.full(1, constant.get(name, 0.0), np.float32) for name in names))
        image = self.photo.copy()
        PhotoAnimator(self.photo, self.landmarks, "mesh478", self.opacity, curves).animate(image, 0)
        return image


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The portrait with a grid of straight lines drawn on the background."""
    photo = np.ascontiguousarray(portrait()[:320, 60:380])
    spec = discover().find(StageKind.DETECTOR, "mediapipe").spec
    detector = spec.make(spec.config())
    assert isinstance(detector, PersonSegmenter)
    context = StageContext(Folder(tmp_path_factory.mktemp("detector")), SilentObserver())
    session = detector.open(DetectionClip(source=SourceInfo(320, 320, 1, 0.04, True)), context)
    landmarks = session.detect(FrameBatch(photo[None], np.zeros(1), np.zeros(1, np.int64)))[0][0].landmarks
    session.close()
    opacity = person_opacity(photo, head_geometry(landmarks, "mesh478"), detector.person_opacity)
    lines = np.zeros(opacity.shape, bool)
    lines[::16], lines[:, ::16] = True, True
    lines &= opacity == 0
    photo[lines] = (20, 60, 160)
    return Scene(photo, landmarks, opacity, lines)


def test_person_is_separated_from_the_background(scene: Scene) -> None:
    points = scene.landmarks[list(mesh478.STABLE), :2].astype(int)
    assert np.median(scene.opacity[points[:, 1], points[:, 0]]) == 1
    assert scene.opacity[:60, :40].max() == 0 and scene.opacity[:100, 250:].max() == 0


def test_head_moves_and_the_background_does_not(scene: Scene) -> None:
    moved = scene.animated(yaw=0.02, shift=0.004)
    size = head_geometry(scene.landmarks, "mesh478").size
    nose = scene.landmarks[[mesh478.NOSE_TIP], :2]
    before, after = (np.ascontiguousarray(image.mean(2).astype(np.uint8)) for image in (scene.photo, moved))
    found, _, _ = cv2.calcOpticalFlowPyrLK(before, after, nose, None, winSize=(15, 15))
    across, along = found[0] - nose[0]
    assert across == pytest.approx((0.02 * 0.5 + 0.004) * size, abs=0.35)
    assert abs(along) < 0.3

    # Lines behind the person stay where they are, up to the pixels that the head covers or reveals.
    difference = np.abs(moved.astype(int) - scene.photo).max(2)
    distance = cv2.distanceTransform((scene.opacity == 0).astype(np.uint8), cv2.DIST_L2, 5)
    behind = scene.lines & (distance > 3) & (distance < 12)
    assert behind.sum() > 100 and difference[behind].max() <= 2
    assert difference[distance > 12].max() == 0
    # The shoulders do not move.
    assert difference[290:].max() == 0


def test_motion_of_zero_keeps_the_photo(scene: Scene) -> None:
    assert np.abs(scene.animated().astype(int) - scene.photo).max() <= 1


def test_blink_closes_the_eyes_only(scene: Scene) -> None:
    blink = scene.animated(closure=1.0)
    changed = (np.abs(blink.astype(int) - scene.photo).max(2) > 3).nonzero()
    eyes = scene.landmarks[[33, 263], :2]
    width = np.hypot(*(eyes[1] - eyes[0]))
    assert len(changed[0]) > 100
    assert changed[0].min() > eyes[:, 1].min() - 0.4 * width and changed[0].max() < eyes[:, 1].max() + 0.4 * width
    # The pupil is covered by skin.
    upper, lower = scene.landmarks[list(LIDS), :2]
    x, y = ((upper + lower) / 2).astype(int)
    assert blink[y - 1, x].mean() > scene.photo[y - 1 : y + 2, x - 1 : x + 2].mean() + 20


def test_distances_of_large_photos_take_little_time() -> None:
    mask = np.zeros((40, 50), bool)
    mask[10, 12] = mask[30, 45] = True
    rows, columns = np.mgrid[:40, :50]
    expected = np.minimum(np.hypot(rows - 10, columns - 12), np.hypot(rows - 30, columns - 45)) <= 7.001
    assert np.array_equal(dilated(mask, 7), expected)
    assert not dilated(np.zeros((9, 9), bool), 3).any()
    # A dilation with a round kernel of this size takes more than 10 s.
    large = np.zeros((1500, 1500), bool)
    large[750, 750] = True
    began = time.process_time()
    assert abs(dilated(large, 300).sum() - np.pi * 300**2) < 2000
    assert time.process_time() - began < 2
