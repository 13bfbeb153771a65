"""Faces that the image contradicts: covered mouths and faces that are upside down."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from retalkit.errors import InputError
from retalkit.geometry.mouth_visibility import shows_mouth
from retalkit.geometry.schemes import IBUG68, MESH478, convert
from retalkit.media.sources import open_source
from retalkit.pipeline.detect import StoredDetections, detect_faces
from retalkit.pipeline.detection_parts import PartDetector
from retalkit.pipeline.face_checks import MOUTH_NOT_VISIBLE, FaceChecker
from retalkit.pipeline.steps import no_face_error
from retalkit.pipeline.track import face_count, track_face
from retalkit.stages import FrameBatch, SourceInfo
from retalkit.storage.cache import Folder
from retalkit_detectors.mediapipe_mesh import UPSIDE_DOWN, MediaPipeSession
from retalkit_detectors.mediapipe_options import MediaPipeConfig

COVERS = {
    "plain": ((216, 230, 230), 0.0),
    "black": ((12, 12, 14), 0.0),
    "skin": ((150, 120, 190)[::-1], 0.0),
    "pleats": ((150, 190, 215), 0.25),
}


class _Silent:
    def advanced(self, step: str, done: int) -> None: ...


def one_frame(image: np.ndarray) -> FrameBatch:
    return FrameBatch(image[None], np.zeros(1), np.zeros(1, np.int64))


@pytest.fixture(scope="module")
def images(shared_media: Path) -> list[np.ndarray]:
    source = open_source(shared_media / "talk_woman_590p25.mp4")
    return [image for _, image in source.read(range(12))]


@pytest.fixture(scope="module")
def faces(images):
    session = MediaPipeSession(MediaPipeConfig())
    found = [session.detect(one_frame(image))[0] for image in images]
    session.close()
    return found


def covered(image: np.ndarray, landmarks: np.ndarray, colour, pleats: float) -> np.ndarray:
    points = convert(landmarks, MESH478, IBUG68)[:, :2]
    shape = points[[31, 35, 13, 11, 9, 8, 7, 5, 3]]
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [cv2.convexHull(np.rint(shape).astype(np.int32))], 1)
    rows = np.arange(image.shape[0])
    light = 1 - pleats * (np.sin(rows / 5) > 0.7)
    cover = np.array(colour) * light[:, None, None] * np.ones((1, image.shape[1], 1))
    return np.where(mask[..., None] > 0, cover, image).astype(np.uint8)


@pytest.mark.parametrize("name", COVERS)
@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_covered_mouth_is_not_visible(images, faces, name: str, gain: float) -> None:
    face = faces[0][0]
    cover = (covered(images[0], face.landmarks, *COVERS[name]) * gain).astype(np.uint8)
    (checked,) = FaceChecker(MESH478).check(one_frame(cover), 0, [face])
    assert checked.reason == MOUTH_NOT_VISIBLE


def test_visible_mouths_pass_in_all_light(images, faces) -> None:
    for image, (face,) in zip(images, faces, strict=True):
        grey = np.repeat(image.mean(2, keepdims=True), 3, 2).astype(np.uint8)
        bright = np.clip(image * 1.8, 0, 255).astype(np.uint8)
        for shown in (image, grey, (image * 0.1).astype(np.uint8), bright, cv2.GaussianBlur(image, (0, 0), 3)):
            assert shows_mouth(shown, convert(face.landmarks, MESH478, IBUG68))


def test_cover_that_appears_is_noticed_in_its_first_frame(images, faces) -> None:
    checker = FaceChecker(MESH478)
    reasons = []
    for number, (image, found) in enumerate(zip(images, faces, strict=True)):
        hidden = 4 <= number < 8
        shown = covered(image, found[0].landmarks, *COVERS["plain"]) if hidden else image
        reasons.append(checker.check(one_frame(shown), 0, found)[0].reason)
    assert reasons == [MOUTH_NOT_VISIBLE if 4 <= number < 8 else "" for number in range(12)]


class _Clip:
    def __init__(self, images) -> None:
        self._images = images
        self.info = SourceInfo(images[0].shape[1], images[0].shape[0], len(images), len(images) / 25)

    def times(self, start: int, stop: int) -> np.ndarray:
        return np.arange(start, stop) / 25

    def read(self, indexes):
        for index in indexes:
            yield index, self._images[index]


def _detect(clip: _Clip, session: MediaPipeSession, folder: Folder) -> None:
    """Store the detections of a clip, and close the session."""
    detector = PartDetector(source=clip, open_session=lambda: session, scheme=MESH478, cancelled=lambda: False)
    detect_faces(detector, [(0, clip.info.frame_count)], folder, _Silent())


def test_face_that_is_upside_down_is_rejected_with_its_reason(tmp_path: Path, images) -> None:
    turned = [np.ascontiguousarray(image[::-1, ::-1]) for image in images]
    session = MediaPipeSession(MediaPipeConfig())
    folder = Folder(tmp_path / "detections")
    _detect(_Clip(turned), session, folder)
    stored = StoredDetections(folder.folder)
    assert any(frame.faces for frame in stored)
    assert set(stored.rejected().values()) == {UPSIDE_DOWN}
    tracks = Folder(tmp_path / "tracks")
    track_face(stored, "largest", tracks, lambda: False)
    assert face_count(tracks) == 0
    error = no_face_error(Path("a.mp4"), stored, "largest")
    assert isinstance(error, InputError) and error.code == "no-face"
    assert UPSIDE_DOWN in str(error) and f"{len(stored.rejected())} frame" in str(error)


def test_face_number_that_does_not_exist_names_the_number_of_faces(tmp_path: Path, images) -> None:
    session = MediaPipeSession(MediaPipeConfig())
    folder = Folder(tmp_path / "detections")
    _detect(_Clip(images), session, folder)
    stored = StoredDetections(folder.folder)
    assert stored.rejected() == {}
    error = no_face_error(Path("a.mp4"), stored, 3)
    assert error.code == "no-such-face" and "there is 1 face" in str(error) and "--face 0" in str(error)
