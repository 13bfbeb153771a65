"""Delaunay triangulation and point location, compared with scipy."""

from __future__ import annotations

import numpy as np
import pytest
from retalkit.geometry.triangulation import delaunay, locate_cells
from scipy.spatial import Delaunay


@pytest.mark.parametrize("scale", [0.01, 1.0, 500.0])
def test_triangles_are_those_of_scipy(scale: float) -> None:
    points = np.random.default_rng(0).normal(0, scale, (300, 2))
    triangles = delaunay(points)
    expected = {tuple(sorted(each)) for each in Delaunay(points).simplices.tolist()}
    found = {tuple(sorted(each)) for each in triangles.tolist()}
    assert found <= expected
    # Flat triangles at the hull may be missing.
    assert len(expected - found) <= 3
    first, second, third = points[triangles].transpose(1, 0, 2)
    assert (np.cross(second - first, third - first) > 0).all()


def test_cells_are_located_as_by_scipy() -> None:
    points = np.random.default_rng(1).uniform(0, 1, (200, 2))
    triangles = delaunay(points)
    x, y = np.linspace(-0.2, 1.2, 64), np.linspace(-0.1, 0.9, 48)
    located = locate_cells(points, triangles, x, y)
    reference = Delaunay(points)
    expected = reference.find_simplex(np.stack(np.meshgrid(x, y), -1))
    inner = (located >= 0) & (expected >= 0)
    assert ((located >= 0) != (expected >= 0)).mean() < 0.01
    corners = np.sort(triangles[located[inner]], axis=1)
    assert np.array_equal(corners, np.sort(reference.simplices[expected[inner]], axis=1))
    assert (located < 0).any() and inner.any()
