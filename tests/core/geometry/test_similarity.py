"""Least-squares similarity transform in two and three dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from retalkit.geometry.similarity import fit_similarity
from scipy.spatial.transform import Rotation


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :-1].T + matrix[:, -1]


@pytest.mark.parametrize("degrees", [-170.0, 0.0, 25.0, 90.0])
def test_known_transform_in_the_plane_is_recovered(degrees: float) -> None:
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    known = np.column_stack([0.4 * rotation, [300, -20]])
    points = np.random.default_rng(0).normal(0, 50, (5, 2))
    matrix = fit_similarity(points, transform(points, known))
    assert matrix is not None and matrix.dtype == np.float64
    np.testing.assert_allclose(matrix, known, atol=1e-9)


def test_known_transform_in_space_is_recovered() -> None:
    rotation = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()
    known = np.column_stack([90 * rotation, [320, 200, 15]])
    points = np.random.default_rng(0).normal(0, 1, (29, 3)).astype(np.float32)
    matrix = fit_similarity(points, transform(points.astype(float), known))
    assert matrix is not None
    np.testing.assert_allclose(matrix, known, atol=1e-9)


def test_reflection_is_excluded() -> None:
    points = np.random.default_rng(1).normal(0, 1, (8, 3))
    matrix = fit_similarity(points, points * (-1, 1, 1))
    assert matrix is not None
    assert np.linalg.det(matrix[:, :3]) > 0


@pytest.mark.parametrize("points", [np.full((5, 2), np.nan), np.full((5, 2), 7.0)])
def test_invalid_points_give_none(points: np.ndarray) -> None:
    target = np.random.default_rng(2).normal(0, 50, (5, 2))
    assert fit_similarity(points, target) is None
    assert fit_similarity(target, points) is None
