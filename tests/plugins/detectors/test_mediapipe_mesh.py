"""The detector ``mediapipe`` on real clips."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.face_tracker import FaceTracker, TrackedFace
from retalkit.geometry.pose import person_template, rigid_fit, to_pixels, yaw_pitch_roll
from retalkit.geometry.scene_cuts import CutDetector
from retalkit.geometry.schemes import IBUG68, MESH478, POINTS5, convert
from retalkit.media.sources import open_source
from retalkit.pipeline.analysis_store import LimitedSource
from retalkit.pipeline.detection_batches import frame_batches
from retalkit.stages import DetectorWithReasons, Face, FrameBatch, Runtime
from retalkit_detectors.mediapipe_mesh import MediaPipeDetector, MediaPipeSession
from retalkit_detectors.mediapipe_options import MediaPipeConfig
from scipy.spatial.transform import Rotation

Image = NDArray[np.uint8]
Float = NDArray[np.float32]

CUTS = "cuts_and_faceless_640x360p2997.mp4"
MAN = "talk_man_700p22.mp4"
WOMAN = "talk_woman_590p25.mp4"
SILENT = "silent_woman_1280x720p30.mp4"
STABLE = list(mesh478.STABLE)


def frames_of(path: Path, start: int = 0, stop: int | None = None) -> list[Image]:
    source = open_source(path)
    return [image for _, image in source.read(range(start, stop or source.info.frame_count))]


@contextmanager
def open_session(**options: object) -> Iterator[MediaPipeSession]:
    session = MediaPipeSession(MediaPipeConfig.model_validate(options))
    try:
        yield session
    finally:
        session.close()


def detect(session: MediaPipeSession, images: Iterable[Image]) -> list[list[Face]]:
    stacked = np.stack(list(images))
    count = len(stacked)
    return session.detect(FrameBatch(stacked, np.arange(count) / 25.0, np.arange(count, dtype=np.int64)))


def track(images: Iterable[Image], faces: Iterable[list[Face]]) -> list[TrackedFace]:
    tracker, cuts = FaceTracker(), CutDetector()
    out: list[TrackedFace] = []
    for index, (image, found) in enumerate(zip(images, faces, strict=True)):
        out.extend(tracker.push(index, found, cuts.is_cut(image)))
    return out + tracker.finish()


@pytest.fixture(scope="module")
def woman(shared_media: Path) -> list[Image]:
    return frames_of(shared_media / WOMAN, 0, 40)


@pytest.fixture(scope="module")
def woman_faces(woman: list[Image]) -> list[list[Face]]:
    with open_session() as session:
        return detect(session, woman)


def test_talking_head_is_one_face_with_high_score(woman_faces: list[list[Face]]) -> None:
    assert [len(faces) for faces in woman_faces] == [1] * 40
    for (face,) in woman_faces:
        assert face.landmarks.shape == (478, 3)
        assert face.landmarks.dtype == face.box.dtype == np.float32
        assert face.score > 0.9
        assert np.allclose(face.box[:2], face.landmarks[:468, :2].min(0))
        assert 200 < face.box[2] - face.box[0] < 260


def test_depth_is_in_pixels_and_increases_away_from_the_camera(woman_faces: list[list[Face]]) -> None:
    landmarks = np.stack([faces[0].landmarks for faces in woman_faces])
    eyes = np.linalg.norm(landmarks[:, 263] - landmarks[:, 33], axis=1)
    depth = landmarks[:, [127, 356], 2].mean(1) - landmarks[:, mesh478.NOSE_TIP, 2]
    assert 0.8 < np.median(depth / eyes) < 1.4


def test_result_does_not_depend_on_the_batch(woman: list[Image], woman_faces: list[list[Face]]) -> None:
    images = woman[:14]
    with open_session() as session:
        single = [detect(session, [image])[0] for image in images]
    for one, other in zip(single, woman_faces[:14], strict=True):
        assert np.array_equal(one[0].landmarks, other[0].landmarks)
        assert one[0].score == other[0].score


def test_decoded_frames_give_the_landmarks_of_the_images(shared_media: Path) -> None:
    count, source = 7, open_source(shared_media / SILENT)
    with open_session() as session:
        expected = detect(session, frames_of(shared_media / SILENT, 0, count))
    found: list[list[list[Face]]] = []
    threads = cv2.getNumThreads()
    for number in (1, 4):
        cv2.setNumThreads(number)
        with open_session() as session:
            batches = frame_batches(LimitedSource(source, count), 0, count)
            found.append([faces for batch in batches for faces in session.detect(batch)])
    cv2.setNumThreads(threads)
    for (face,), (one,), (other,) in zip(expected, *found, strict=True):
        assert np.abs(one.landmarks[:, :2] - face.landmarks[:, :2]).mean() < 0.2
        assert abs(one.score - face.score) < 0.01
        assert np.array_equal(one.landmarks, other.landmarks), "the landmarks depend on the number of threads"


def test_cut_resets_the_tracks(shared_media: Path, woman: list[Image]) -> None:
    # Both faces have about the same position, so without the reset the old track would continue.
    man = [cv2.resize(image, (590, 590)) for image in frames_of(shared_media / MAN, 0, 8)]
    with open_session() as session:
        after_cut = detect(session, [*man, *woman[:8]])[8:]
    with open_session() as session:
        fresh = detect(session, woman[:8])
    for one, other in zip(after_cut, fresh, strict=True):
        assert len(one) == len(other) == 1
        assert np.array_equal(one[0].landmarks, other[0].landmarks)


def test_shots_faceless_frames_and_profiles(shared_media: Path) -> None:
    images = frames_of(shared_media / CUTS)
    with open_session() as session:
        tracked = track(images, detect(session, images))
    shots = np.array([one.shot for one in tracked])
    assert (shots[:20] == shots[0]).all()
    assert shots[0] >= 0  # face width 42 pixels: full-range network
    assert (shots[20:82] == -1).all()  # turning profile, hands, dark crowd
    assert (shots[82:211] == shots[82]).all()  # singer with microphone and hands in front of the mouth
    assert shots[82] > shots[0]
    assert (shots[211:] == -1).all()  # audience in profile


def test_clutter_is_not_tracked(shared_media: Path) -> None:
    # From frame 225, the mesh network detects a face in the blurred plants, as large as the real one.
    images = frames_of(shared_media / SILENT, 215, 245)
    with open_session() as session:
        found = detect(session, images)
    assert all(sum(face.score > 0.3 for face in faces) == 1 for faces in found)
    assert all(faces[0].box[0] > 400 for faces in found)


def test_two_people_side_by_side_are_separate_tracks(shared_media: Path, woman: list[Image]) -> None:
    man = frames_of(shared_media / MAN, 0, 40)
    images = [np.hstack([cv2.resize(one, (590, 590)), other]) for one, other in zip(man, woman, strict=True)]
    with open_session() as session:
        found = detect(session, images)
    assert all(len(faces) == 2 for faces in found)
    tracked = track(images, found)
    assert {one.shot for one in tracked} == {0}
    boxes = np.stack([one.face.box for one in tracked if one.face])
    assert len(boxes) == 40
    assert (boxes[:, 0] > 590).all()  # the woman's face is larger and stays selected


def test_small_face_in_a_large_image(woman: list[Image]) -> None:
    images = [np.full((720, 1280, 3), 90, np.uint8) for _ in range(6)]
    for canvas, image in zip(images, woman[:6], strict=True):
        canvas[100:220, 900:1020] = cv2.resize(image, (120, 120), interpolation=cv2.INTER_AREA)
    with open_session() as session:
        found = detect(session, images)
    assert all(len(faces) == 1 and faces[0].score > 0.5 for faces in found)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (97, 131)])
def test_odd_sizes_without_a_face(size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, *size, 3), np.uint8)
    with open_session() as session:
        assert detect(session, images) == [[], [], []]


def test_odd_size_with_a_face(woman: list[Image], woman_faces: list[list[Face]]) -> None:
    images = [image[3:-2, 5:-4] for image in woman[:2]]
    with open_session() as session:
        found = detect(session, images)
    moved = found[1][0].landmarks[:, :2] + (5, 3)
    assert np.abs(moved - woman_faces[1][0].landmarks[:, :2]).max() < 3


def test_empty_batch(woman: list[Image]) -> None:
    empty = np.zeros((0, *woman[0].shape), np.uint8)
    with open_session() as session:
        assert session.detect(FrameBatch(empty, np.zeros(0), np.zeros(0, np.int64))) == []


def test_yaw_is_positive_towards_the_viewers_right(shared_media: Path) -> None:
    with open_session() as session:
        right = detect(session, frames_of(shared_media / SILENT, 0, 5))
        left = detect(session, frames_of(shared_media / CUTS, 110, 125))
    template = person_template(right[0][0].landmarks[None])
    landmarks = np.stack([right[-1][0].landmarks, left[-1][0].landmarks])
    angles = yaw_pitch_roll(rigid_fit(landmarks[:, STABLE], template[STABLE]))
    assert 10 < angles[0, 0] < 30
    assert -45 < angles[1, 0] < -15


def test_pose_of_a_real_face_is_recovered(woman_faces: list[list[Face]]) -> None:
    landmarks = np.stack([faces[0].landmarks for faces in woman_faces])
    template = person_template(landmarks)
    pose = rigid_fit(landmarks[:, STABLE], template[STABLE])
    again = rigid_fit(to_pixels(template, pose)[:, STABLE], template[STABLE])
    assert np.allclose(again.rotation, pose.rotation, atol=1e-4)
    assert np.abs(yaw_pitch_roll(pose)[:, 1]).mean() < 8  # the woman looks at the camera


def test_ibug68_of_a_real_face_is_plausible(woman_faces: list[list[Face]]) -> None:
    landmarks = np.stack([faces[0].landmarks for faces in woman_faces])
    template = person_template(landmarks)[None]
    points = convert(template, MESH478, IBUG68)[0]
    midline = points[[8, 27, 28, 29, 30, 33, 51, 57, 62, 66], 0]
    assert np.abs(midline).max() < 0.1
    mirror = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
    mirror += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    mirror += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    assert np.abs(points[mirror] * (-1, 1, 1) - points).max() < 0.15
    assert (np.diff(points[:17, 0]) > -0.05).all()  # jaw line from left to right
    assert points[8, 1] == points[:, 1].max()
    eyes, nose, corners = np.split(convert(template, MESH478, POINTS5)[0], [2, 3])
    assert eyes[0, 0] < nose[0, 0] < eyes[1, 0]
    assert eyes[:, 1].max() < nose[0, 1] < corners[:, 1].min()
    assert corners[0, 0] < corners[1, 0]


SCRIPT = """
import numpy as np
from retalkit.stages import FrameBatch
from retalkit_detectors.mediapipe_mesh import MediaPipeDetector, MediaPipeSession
from retalkit_detectors.mediapipe_options import MediaPipeConfig
session = MediaPipeSession(MediaPipeConfig())
images = np.random.default_rng(0).integers(0, 255, (2, 90, 120, 3), np.uint8)
session.detect(FrameBatch(images, np.zeros(2), np.arange(2)))
session.close()
"""


FILTERED = f"""
import os
from retalkit.cli.native_logs import filter_native_logs
with filter_native_logs():
    os.write(2, b"first line\\nW0000 00:00:1 2 some.cc:114] message\\n")
    exec({SCRIPT!r})
    os.write(2, b"second line\\n")
print("end")
"""


def test_command_line_hides_native_logs_and_keeps_other_output() -> None:
    done = subprocess.run([sys.executable, "-c", FILTERED], capture_output=True, check=True, timeout=120)
    assert done.stderr == b"first line\nsecond line\n"
    assert done.stdout == b"end\n"


def test_specs_import_nothing_heavy() -> None:
    code = (
        "import sys, retalkit_detectors.plugin as p; list(p.retalkit_stages());"
        "heavy = {'cv2', 'mediapipe', 'scipy', 'torch'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_low_scores_are_explained(woman_faces: list[list[Face]]) -> None:
    detector = MediaPipeDetector(MediaPipeConfig(), Runtime())
    assert isinstance(detector, DetectorWithReasons)
    points = woman_faces[0][0].landmarks
    template = person_template(points[None])
    pose = rigid_fit(points[None, STABLE], template[STABLE])
    turn = Rotation.from_euler("y", 60, degrees=True).as_matrix().astype(np.float32)
    profile = to_pixels(template, replace(pose, rotation=pose.rotation @ turn))[0]
    shapes = {"profile": profile, "too small": points * 0.06, "partly outside the frame": points + [350, 0, 0]}
    for reason, landmarks in shapes.items():
        face = Face(np.zeros(4, np.float32), landmarks.astype(np.float32), 0.1)
        assert detector.low_score_reason(face, 590, 590) == reason
    assert detector.low_score_reason(woman_faces[0][0], 590, 590) == "unclear face"
