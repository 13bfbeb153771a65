"""From a box to FAN's 68 points, held against the library and against points that are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'retalkit[face-alignment]'")
pytest.importorskip("face_alignment", reason="needs the extra: pip install 'retalkit[face-alignment]'")

from face_alignment import FaceAlignment, LandmarksType, utils
from face_alignment.detection.core import FaceDetector
from retalkit_detectors.face_alignment.landmarks import find_landmarks, peaks, square_of, to_frame
from retalkit_detectors.face_alignment.networks import load_networks

from tests.plugins.detectors.synthetic_faces import draw_face, fake_fan


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own code without waiting for numba."""
    for name in ("_get_preds_fromhm", "transform_np"):
        monkeypatch.setattr(utils, name, getattr(utils, name).py_func)


@pytest.mark.usefixtures("uncompiled")
def test_peaks_are_those_of_the_library() -> None:
    heat = np.random.default_rng(0).standard_normal((3, 68, 64, 64), np.float32)
    corners = ((0, 0), (0, 63), (63, 0), (63, 63), (0, 30), (30, 0), (63, 30), (30, 63), (1, 1), (62, 62))
    for number, (row, column) in enumerate(corners):
        heat[0, number, row, column] = 9.0
    heat[1, 0] = 0.0  # flat: the first place counts, and nothing leans
    theirs, _, _ = utils.get_preds_fromhm(heat)
    for picture in range(3):
        np.testing.assert_array_equal(peaks(heat[picture]), theirs[picture])


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("mirrored", [False, True])
def test_landmarks_are_those_of_the_library_before_it_cuts_off_fractions(
    pseudo_weights: Callable[[str], Path], mirrored: bool
) -> None:
    network = load_networks(pseudo_weights("s3fd"), pseudo_weights("fan")).fan
    rough = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    image = cv2.resize(rough, (400, 300), interpolation=cv2.INTER_CUBIC)
    box = np.array([170.3, 120.6, 250.9, 215.2])
    library = FaceAlignment.__new__(FaceAlignment)
    # All but the constructor, which downloads.
    library.device, library.dtype, library.flip_input, library.max_batch_size = "cpu", torch.float32, mirrored, 1
    library.landmarks_type, library.face_alignment_net = LandmarksType.TWO_D, network
    library.face_detector = FaceDetector("cpu", False)
    with torch.inference_mode():
        theirs = library.get_landmarks_from_image(image, [box])[0]
        ours = find_landmarks(image, box, network, "cpu", mirrored)
    assert ours.shape == (68, 3) and ours.dtype == np.float32
    assert np.ptp(theirs[:, 0]) > 50
    np.testing.assert_array_equal(np.floor(ours[:, :2] + 0.5), theirs)
    assert (ours[:, 2] == 0).all()


@pytest.mark.parametrize("size", [(60, 72), (180, 200), (417, 500), (90, 80)])
@pytest.mark.parametrize("offset", [(200, 180), (3, 2), (760, 560)])
def test_painted_points_come_back_at_their_place(size: tuple[int, int], offset: tuple[int, int]) -> None:
    image = np.zeros((1100, 1200, 3), np.uint8)
    points = draw_face(image, *offset, *size)
    box = np.array([*offset, offset[0] + size[0], offset[1] + size[1]], float)
    found = find_landmarks(image, box, fake_fan, "cpu", False)[:, :2]
    cell = sum(size) / 195 * 200 / 64
    error = found - points
    assert np.abs(error).max() < 0.6 * cell + 0.8
    # The library's crop, with which FAN was trained, leaves out a 256th on the left and above: a sixth of a cell.
    assert np.abs(error.mean(0)).max() < 0.17 * cell + 0.6


def test_a_face_half_outside_the_frame_keeps_what_is_seen() -> None:
    whole = np.zeros((400, 400, 3), np.uint8)
    points = draw_face(whole, 150, 120, 160, 180)
    image = np.ascontiguousarray(whole[:, 230:])
    box = np.array([-80.0, 120.0, 80.0, 300.0])
    found = find_landmarks(image, box, fake_fan, "cpu", False)[:, :2]
    seen = points[:, 0] > 240
    assert seen.sum() > 20
    assert np.abs(found - (points - (230, 0)))[seen].max() < 5


def test_a_square_lies_a_little_above_the_box_and_the_map_covers_it() -> None:
    middle, scale = square_of(np.array([100.0, 200.0, 200.0, 300.0]))
    np.testing.assert_allclose(middle, [150, 238])
    assert scale == pytest.approx(200 / 195)
    corners = to_frame(np.array([[0.0, 0.0], [32.0, 32.0], [64.0, 64.0]]), middle, scale)
    half = 100 * scale
    np.testing.assert_allclose(corners, [middle - half - 0.5, middle - 0.5, middle + half - 0.5])
