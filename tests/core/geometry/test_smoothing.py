"""Savitzky-Golay smoothing inside tracks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.geometry.smoothing import TrackSmoother
from scipy.signal import savgol_filter

Float = NDArray[np.float32]

SHOTS = np.array([0] * 12 + [-1] * 2 + [1] * 4 + [2] * 5 + [-1] + [3] * 6 + [4] * 9, np.int32)


@pytest.fixture
def landmarks() -> Float:
    values = np.random.default_rng(1).normal(200, 40, (len(SHOTS), 6, 3)).astype(np.float32)
    values[SHOTS < 0] = np.nan
    return values


def smooth(landmarks: Float, shots: NDArray[np.int32] = SHOTS) -> Float:
    """Return all rows smoothed in one call."""
    smoother = TrackSmoother()
    ready, rest = smoother.push(landmarks, shots), smoother.finish()
    return np.concatenate([ready, rest]) if len(rest) else ready


def smooth_with_scipy(landmarks: Float) -> Float:
    out = landmarks.copy()
    for shot in range(5):
        rows = shot == SHOTS
        if rows.sum() >= 5:
            out[rows] = savgol_filter(landmarks[rows].astype(np.float64), 5, 2, axis=0, mode="interp")
    return out


def test_matches_scipy_savgol_filter_inside_each_track(landmarks: Float) -> None:
    assert np.allclose(smooth(landmarks), smooth_with_scipy(landmarks), atol=1e-3, equal_nan=True)


def test_order_zero_is_mean_of_five_frames_inside_each_track() -> None:
    boxes = np.random.default_rng(0).uniform(0, 100, (16, 4)).astype(np.float32)
    boxes[3] = np.nan
    shots = np.array([0, 0, 0, -1, *[1] * 6, *[2] * 6], np.int32)
    smoother = TrackSmoother(order=0)
    found = np.concatenate([smoother.push(boxes, shots), smoother.finish()])
    np.testing.assert_array_equal(found[:4], boxes[:4])
    np.testing.assert_allclose(found[6], boxes[4:9].mean(0), rtol=1e-5)
    np.testing.assert_allclose(found[9], boxes[5:10].mean(0), rtol=1e-5)
    np.testing.assert_allclose(found[10], boxes[10:15].mean(0), rtol=1e-5)


def test_short_tracks_and_frames_without_face_are_unchanged(landmarks: Float) -> None:
    smoothed = smooth(landmarks)
    untouched = (SHOTS == 1) | (SHOTS < 0)
    assert np.array_equal(smoothed[untouched], landmarks[untouched], equal_nan=True)


def test_cut_separates_tracks(landmarks: Float) -> None:
    moved = landmarks.copy()
    moved[SHOTS == 4] += 1000
    before, after = smooth(landmarks), smooth(moved)
    assert np.array_equal(before[SHOTS == 3], after[SHOTS == 3])
    assert np.abs(after[SHOTS == 4] - before[SHOTS == 4] - 1000).max() < 1e-2


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 39])
def test_result_does_not_depend_on_chunking(landmarks: Float, size: int) -> None:
    smoother = TrackSmoother()
    parts = [smoother.push(landmarks[k : k + size], SHOTS[k : k + size]) for k in range(0, len(SHOTS), size)]
    rest = smoother.finish()
    streamed = np.concatenate([*parts, rest]) if len(rest) else np.concatenate(parts)
    assert np.array_equal(streamed, smooth(landmarks), equal_nan=True)


def test_output_lags_by_at_most_four_frames(landmarks: Float) -> None:
    smoother, returned = TrackSmoother(), 0
    for index in range(len(SHOTS)):
        returned += len(smoother.push(landmarks[index : index + 1], SHOTS[index : index + 1]))
        assert index + 1 - returned <= 4


def test_nan_row_inside_a_track_is_a_gap(landmarks: Float) -> None:
    landmarks[5] = np.nan
    smoothed = smooth(landmarks)
    assert np.isnan(smoothed[5]).all()
    assert np.isfinite(smoothed[[4, 6]]).all()


def test_empty_batch() -> None:
    assert smooth(np.empty((0, 478, 3), np.float32), np.empty(0, np.int32)).shape == (0, 478, 3)
