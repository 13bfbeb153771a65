"""FAN's 68 landmarks, compared with the library and with known points."""

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
from retalkit.stages import Runtime
from retalkit_detectors.face_alignment.landmarks import fan_square, find_landmarks, peaks, to_frame
from retalkit_detectors.face_alignment.networks import load_networks

from tests.plugins.detectors.synthetic_faces import draw_face, fake_fan


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the library's code without compiling it with numba."""
    for name in ("_get_preds_fromhm", "transform_np"):
        monkeypatch.setattr(utils, name, getattr(utils, name).py_func)


@pytest.mark.usefixtures("uncompiled")
def test_peaks_match_the_library() -> None:
    heat = np.random.default_rng(0).standard_normal((3, 68, 64, 64), np.float32)
    corners = ((0, 0), (0, 63), (63, 0), (63, 63), (0, 30), (30, 0), (63, 30), (30, 63), (1, 1), (62, 62))
    for number, (row, column) in enumerate(corners):
        heat[0, number, row, column] = 9.0
    heat[1, 0] = 0.0  # flat: the first position, without refinement
    theirs, _, _ = utils.get_preds_fromhm(heat)
    for image in range(3):
        np.testing.assert_array_equal(peaks(heat[image]), theirs[image])


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("mirrored", [False, True])
def test_landmarks_match_the_library_before_truncation(pseudo_weights: Callable[[str], Path], mirrored: bool) -> None:
    weights = {name: pseudo_weights(name) for name in ("s3fd", "fan")}
    network = load_networks(Runtime(inference="torch", weights=weights)).fan
    rough = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    image = cv2.resize(rough, (400, 300), interpolation=cv2.INTER_CUBIC)
    box = np.array([170.3, 120.6, 250.9, 215.2])
    library = FaceAlignment.__new__(FaceAlignment)
    # Without its constructor, which downloads.
    library.device, library.dtype, library.flip_input, library.max_batch_size = "cpu", torch.float32, mirrored, 1
    library.landmarks_type, library.face_alignment_net = LandmarksType.TWO_D, network
    library.face_detector = FaceDetector("cpu", False)
    with torch.inference_mode():
        theirs = library.get_landmarks_from_image(image, [box])[0]
        ours = find_landmarks(image, box, network, mirrored)
    assert ours.shape == (68, 3) and ours.dtype == np.float32
    assert np.ptp(theirs[:, 0]) > 50
    np.testing.assert_array_equal(np.floor(ours[:, :2] + 0.5), theirs)
    assert (ours[:, 2] == 0).all()


@pytest.mark.parametrize("size", [(60, 72), (180, 200), (417, 500), (90, 80)])
@pytest.mark.parametrize("offset", [(200, 180), (3, 2), (760, 560)])
def test_synthetic_points_are_found(size: tuple[int, int], offset: tuple[int, int]) -> None:
    image = np.zeros((1100, 1200, 3), np.uint8)
    points = draw_face(image, *offset, *size)
    box = np.array([*offset, offset[0] + size[0], offset[1] + size[1]], float)
    found = find_landmarks(image, box, fake_fan, False)[:, :2]
    cell = sum(size) / 195 * 200 / 64
    error = found - points
    assert np.abs(error).max() < 0.6 * cell + 0.8
    # The library's crop, with which FAN was trained, omits 1/256 at the left and top: a sixth of a cell.
    assert np.abs(error.mean(0)).max() < 0.17 * cell + 0.6


def test_visible_landmarks_of_a_partly_visible_face_are_found() -> None:
    whole = np.zeros((400, 400, 3), np.uint8)
    points = draw_face(whole, 150, 120, 160, 180)
    image = np.ascontiguousarray(whole[:, 230:])
    box = np.array([-80.0, 120.0, 80.0, 300.0])
    found = find_landmarks(image, box, fake_fan, False)[:, :2]
    visible = points[:, 0] > 240
    assert visible.sum() > 20
    assert np.abs(found - (points - (230, 0)))[visible].max() < 5


def test_fan_square_is_above_the_box_centre_and_covered_by_the_map() -> None:
    centre, scale = fan_square(np.array([100.0, 200.0, 200.0, 300.0]))
    np.testing.assert_allclose(centre, [150, 238])
    assert scale == pytest.approx(200 / 195)
    corners = to_frame(np.array([[0.0, 0.0], [32.0, 32.0], [64.0, 64.0]]), centre, scale)
    half = 100 * scale
    np.testing.assert_allclose(corners, [centre - half - 0.5, centre - 0.5, centre + half - 0.5])
