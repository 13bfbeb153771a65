"""The detector ``face_alignment`` with fake networks that detect synthetic faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'retalkit[face-alignment]'")
pytest.importorskip("face_alignment", reason="needs the extra: pip install 'retalkit[face-alignment]'")

from numpy.typing import NDArray
from retalkit.stages import Face, FrameBatch
from retalkit.storage.cache import Folder
from retalkit.storage.frame_store import FrameStore
from retalkit_detectors.face_alignment.detector import FaceAlignmentSession
from retalkit_detectors.face_alignment.interface import FaceAlignmentConfig
from retalkit_detectors.face_alignment.networks import Networks

from tests.plugins.detectors.synthetic_faces import FakeS3fd, draw_face, fake_networks

Image = NDArray[np.uint8]


def session_of(networks: Networks, folder: Path, **options: object) -> FaceAlignmentSession:
    return FaceAlignmentSession(
        FaceAlignmentConfig.model_validate(options), networks, FrameStore(Folder(folder), "face_alignment")
    )


def detect(session: FaceAlignmentSession, images: list[Image], start: int = 0) -> list[list[Face]]:
    count = len(images)
    return session.detect(FrameBatch(np.stack(images), np.arange(count) / 25, np.arange(start, start + count)))


@pytest.mark.parametrize("longest_side", [320, 640])
@pytest.mark.parametrize("size", [(320, 240), (333, 251), (640, 360), (1280, 720), (1920, 1080), (720, 1280)])
def test_face_is_found_at_any_frame_size(tmp_path: Path, size: tuple[int, int], longest_side: int) -> None:
    width, height = size
    image = np.full((height, width, 3), 30, np.uint8)
    across, down = min(size) * 3 // 8, min(size) * 4 // 8
    left, top = width * 2 // 5, height // 4
    points = draw_face(image, left, top, across, down)
    seen, networks = fake_networks()
    (face,) = detect(session_of(networks, tmp_path, longest_side=longest_side), [image])[0]
    assert max(seen.image_sizes[0]) == min(longest_side, max(size)) and len(seen.image_sizes) == 1
    pixel = max(size) / max(seen.image_sizes[0])
    assert face.box.dtype == face.landmarks.dtype == np.float32
    np.testing.assert_allclose(face.box, [left, top, left + across, top + down], atol=pixel + 0.1)
    assert face.score == pytest.approx(0.99, abs=1e-3)
    assert face.landmarks.shape == (68, 3) and (face.landmarks[:, 2] == 0).all()
    cell = (across + down) / 195 * 200 / 64
    error = face.landmarks[:, :2] - points
    assert np.abs(error).max() < 0.6 * cell + 0.8
    # The library's crop, with which FAN was trained, omits 1/256 at the left and top: a sixth of a cell.
    assert np.abs(error.mean(0)).max() < 0.17 * cell + 0.6


def test_small_face_is_found_at_a_larger_side(tmp_path: Path) -> None:
    image = np.zeros((1080, 1920, 3), np.uint8)
    points = draw_face(image, 900, 400, 40, 40)
    seen, networks = fake_networks()
    (face,) = detect(session_of(networks, tmp_path), [image])[0]
    assert seen.image_sizes == [(360, 640), (720, 1280)]
    np.testing.assert_allclose(face.box, [900, 400, 940, 440], atol=1.6)
    assert np.abs(face.landmarks[:, :2] - points).max() < 2.5


def test_frame_without_a_face_is_searched_up_to_the_largest_side(tmp_path: Path) -> None:
    image = np.zeros((1080, 1920, 3), np.uint8)
    seen, networks = fake_networks()
    assert detect(session_of(networks, tmp_path / "one"), [image]) == [[]]
    assert seen.image_sizes == [(360, 640), (720, 1280)]
    assert detect(session_of(networks, tmp_path / "two", largest_side=64), [image]) == [[]]
    assert seen.image_sizes[2:] == [(360, 640)]


def test_only_the_largest_faces_are_returned(tmp_path: Path) -> None:
    image = np.zeros((360, 640, 3), np.uint8)
    for left, side in ((20, 60), (120, 150), (320, 90), (480, 120)):
        draw_face(image, left, 40, side, side)
    faces = detect(session_of(fake_networks()[1], tmp_path, max_faces=3), [image])[0]
    np.testing.assert_allclose([face.box[2] - face.box[0] for face in faces], [150, 120, 90], atol=0.1)


def test_results_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    images = [np.zeros((180, 320, 3), np.uint8) for _ in range(4)]
    for number, image in enumerate(images[:3]):
        draw_face(image, 40 + 30 * number, 20, 100, 110)
    seen, networks = fake_networks()
    session = session_of(networks, tmp_path / "together", largest_side=64)
    together = detect(session, images)
    assert len(seen.image_sizes) == 4
    alone = [
        detect(session_of(networks, tmp_path / "alone", largest_side=64), [images[number]], number)[0]
        for number in (2, 0, 3, 1)
    ]
    assert [len(faces) for faces in together] == [1, 1, 1, 0]
    for number, faces in zip((2, 0, 3, 1), alone, strict=True):
        for one, other in zip(together[number], faces, strict=True):
            np.testing.assert_array_equal(one.landmarks, other.landmarks)
            np.testing.assert_array_equal(one.box, other.box)
            assert one.score == other.score


def test_stored_faces_are_not_computed_again(tmp_path: Path) -> None:
    image = np.zeros((180, 320, 3), np.uint8)
    draw_face(image, 40, 20, 100, 110)
    seen, networks = fake_networks()
    first = detect(session_of(networks, tmp_path), [image, np.zeros_like(image)], 7)
    asked = len(seen.image_sizes)
    again = detect(session_of(networks, tmp_path), [image, np.zeros_like(image), image], 7)
    assert len(seen.image_sizes) == asked + 1
    assert [len(faces) for faces in again] == [1, 0, 1]
    np.testing.assert_array_equal(first[0][0].landmarks, again[0][0].landmarks)
    np.testing.assert_array_equal(first[0][0].box, again[0][0].box)
    assert first[0][0].score == again[0][0].score


def test_frames_are_not_modified(tmp_path: Path) -> None:
    image = np.zeros((180, 320, 3), np.uint8)
    draw_face(image, 40, 20, 100, 110)
    before = image.copy()
    frames = FrameBatch(image[None], np.zeros(1), np.zeros(1, np.int64))
    frames.images.setflags(write=False)
    session_of(Networks(FakeS3fd(), fake_networks()[1].fan), tmp_path).detect(frames)
    np.testing.assert_array_equal(image, before)
