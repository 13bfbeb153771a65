"""Comparison of requested and tracked mouth motion."""

import numpy as np
import pytest
from retalkit.geometry.pose import HeadPose, person_template, to_head_frame, to_pixels
from retalkit.motion_eval.correlation import pearson
from retalkit_metrics.meters.mouth_tracking import compare_mouth_motion, measure_mouth


def series(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    phase = np.linspace(0, 12, count, dtype=np.float32)
    return 0.1 + 0.1 * np.sin(phase), 0.5 + 0.05 * np.cos(2 * phase)


def test_identical_motion_is_perfect() -> None:
    opening, width = series()
    scores = compare_mouth_motion(opening, width, opening, width, face_height=2.0)
    assert scores.opening_correlation == pytest.approx(1)
    assert scores.width_correlation == pytest.approx(1)
    assert scores.opening_error == scores.width_error == scores.opening_bias == 0
    assert scores.frames == 200
    assert scores.lost == 0


def test_errors_are_percent_of_face_height() -> None:
    opening, width = series()
    scores = compare_mouth_motion(opening, width, opening + 0.02, width - 0.01, face_height=2.0)
    assert scores.opening_error == pytest.approx(1.0, abs=1e-4)
    assert scores.opening_bias == pytest.approx(1.0, abs=1e-4)
    assert scores.width_error == pytest.approx(0.5, abs=1e-4)
    assert scores.opening_correlation == pytest.approx(1)


def test_opposite_motion_scores_minus_one() -> None:
    opening, width = series()
    assert compare_mouth_motion(opening, width, -opening, width, 2.0).opening_correlation == pytest.approx(-1)


def test_lost_frames_are_counted_and_ignored() -> None:
    opening, width = series()
    tracked = opening.copy()
    tracked[10:20] = np.nan
    requested = opening.copy()
    requested[15:40] = np.nan
    scores = compare_mouth_motion(requested, width, tracked, width, 2.0)
    assert scores.frames == 200 - 30
    assert scores.lost == 5
    assert scores.opening_error == 0


def test_constant_request_has_no_correlation() -> None:
    shown = np.zeros(100, np.float32)
    shown[:5] = 0.05
    zero = np.zeros(100, np.float32)
    scores = compare_mouth_motion(zero, zero, shown, zero, 2.0)
    assert np.isnan(scores.opening_correlation)
    assert scores.tracked_opening == pytest.approx(2.5, abs=0.1)
    assert scores.requested_opening == 0


def test_no_face_found() -> None:
    nothing = np.full(5, np.nan, np.float32)
    scores = compare_mouth_motion(np.zeros(5, np.float32), np.zeros(5, np.float32), nothing, nothing, 2.0)
    assert scores.frames == 0
    assert scores.lost == 5


def test_invalid_input_is_rejected() -> None:
    with pytest.raises(ValueError, match="length"):
        compare_mouth_motion(np.zeros(3), np.zeros(3), np.zeros(4), np.zeros(4), 2.0)
    with pytest.raises(ValueError, match="face height"):
        compare_mouth_motion(np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3), 0.0)
    assert np.isnan(pearson(np.zeros(1), np.zeros(1)))


def test_mouth_measures_are_independent_of_head_pose() -> None:
    generator = np.random.default_rng(0)
    face = generator.normal(size=(1, 478, 3)).astype(np.float32)
    template = person_template(face)
    angle = np.radians(np.array([0.0, 20.0, -15.0]))
    turn = np.zeros((3, 3, 3), np.float32)
    turn[:, 0, 0] = turn[:, 2, 2] = np.cos(angle)
    turn[:, 0, 2], turn[:, 2, 0], turn[:, 1, 1] = np.sin(angle), -np.sin(angle), 1
    pose = HeadPose(np.array([100, 150, 80], np.float32), turn, np.array([[50, 60, 0]] * 3, np.float32))
    pixels = to_pixels(template, pose)
    pixels[2] = np.nan
    shown = measure_mouth(pixels, template)
    np.testing.assert_allclose(shown[0], shown[1], atol=1e-3)
    assert np.isnan(shown[2]).all()
    gap = np.linalg.norm(to_head_frame(pixels[:1], pose[:1])[0, 13] - template[14])
    assert shown[0, 0] == pytest.approx(gap, abs=1e-3)
