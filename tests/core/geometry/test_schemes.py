"""Landmark schemes, their ports and conversions on random landmarks."""

from __future__ import annotations

import numpy as np
import pytest
from retalkit.errors import PlanError
from retalkit.geometry import mesh478
from retalkit.geometry.schemes import (
    COUNTS,
    IBUG68,
    MESH478,
    MESH_TO_IBUG,
    POINTS5,
    convert,
    convertible,
    landmark_port,
    scheme_of,
)


def test_ports_and_schemes_are_inverse() -> None:
    assert landmark_port(MESH478) == "landmarks:mesh478"
    assert scheme_of(landmark_port(IBUG68)) == IBUG68
    assert scheme_of("coefficients:mesh") is None


def test_convertible_schemes() -> None:
    assert convertible(MESH478) == {MESH478, IBUG68, POINTS5}
    assert convertible(IBUG68) == {IBUG68, POINTS5}
    assert convertible("dlib81") == {"dlib81"}


@pytest.mark.parametrize("source", sorted(COUNTS))
def test_every_listed_conversion_works(source: str) -> None:
    landmarks = np.random.default_rng(0).normal(size=(4, COUNTS[source], 3)).astype(np.float32)
    landmarks[1] = np.nan
    for target in convertible(source):
        converted = convert(landmarks, source, target)
        assert converted.shape == (4, COUNTS[target], 3)
        assert converted.dtype == np.float32
        assert np.isnan(converted[1]).all()
        assert np.isfinite(converted[[0, 2, 3]]).all()


def test_impossible_conversion_is_rejected() -> None:
    with pytest.raises(PlanError, match="points5.*mesh478.*accepts points5") as error:
        convert(np.zeros((1, 5, 3), np.float32), POINTS5, MESH478)
    assert error.value.code == "unsupported-conversion"


def test_table_contains_each_mesh_point_once() -> None:
    assert len(MESH_TO_IBUG) == len(set(MESH_TO_IBUG)) == 68
    assert set(MESH_TO_IBUG[48:60]) <= set(mesh478.OUTER_LIPS)
    assert set(MESH_TO_IBUG[60:]) <= set(mesh478.INNER_LIPS)
    assert set(MESH_TO_IBUG[:17]) <= set(mesh478.FACE_OVAL)


def test_five_points_are_the_same_from_both_schemes() -> None:
    mesh = np.random.default_rng(2).normal(size=(3, 478, 3)).astype(np.float32)
    assert np.array_equal(convert(mesh, MESH478, POINTS5), convert(convert(mesh, MESH478, IBUG68), IBUG68, POINTS5))
