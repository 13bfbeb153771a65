"""Warps to the templates of restoration networks and back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from retalkit.geometry.similarity import fit_similarity
from retalkit_enhancers.restoration.restorer import SIZE
from retalkit_enhancers.restoration.template import (
    FFHQ,
    GPEN,
    Template,
    inverse,
    oval,
    scale_of,
    warp_from_template,
    warp_to_template,
)

from tests.pseudo_weights import load_module


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> dict[str, np.ndarray]:
    with np.load(shared_parity / "pure_geometry.npz") as arrays:
        return dict(arrays)


def turned(scale: float, degrees: float, x: float, y: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def test_template_and_alignment_match_published(published: dict[str, np.ndarray], shared_parity: Path) -> None:
    np.testing.assert_allclose(GPEN.array(), published["gpen_ref5"], rtol=0, atol=1e-9)
    matrix = fit_similarity(published["gpen_p5"].T, GPEN.array())
    assert matrix is not None
    # Published in float32.
    np.testing.assert_allclose(inverse(matrix), published["gpen_tfm_inv"], rtol=0, atol=1e-4)
    drawn = load_module(shared_parity / "inputs.py").img(np.random.default_rng(0), 1, 3, 256, 256)[0]
    image = np.round(drawn.transpose(1, 2, 0) * 255).astype(np.uint8)
    np.testing.assert_array_equal(warp_to_template(image, matrix)[::4, ::4], published["gpen_face"])


@pytest.mark.parametrize("degrees", [-170.0, -30.0, 0.0, 25.0, 90.0])
def test_similarity_recovers_the_transformation(degrees: float) -> None:
    known = turned(0.4, degrees, 300, -20)
    points = moved(FFHQ.array(), known)
    back = fit_similarity(points, FFHQ.array())
    assert back is not None
    np.testing.assert_allclose(back, inverse(known), atol=1e-9)
    assert scale_of(back) == pytest.approx(2.5)


def test_similarity_minimises_the_error() -> None:
    points = FFHQ.array() * 0.3 + np.random.default_rng(0).normal(0, 6, (5, 2))
    best = fit_similarity(points, FFHQ.array())
    assert best is not None

    def error(matrix: np.ndarray) -> float:
        return float(((moved(points, matrix) - FFHQ.array()) ** 2).sum())

    for change in (turned(1.01, 0, 0, 0), turned(1, 0.5, 0, 0), turned(1, 0, 1, 0), turned(1, 0, 0, -1)):
        after = np.column_stack([change[:, :2] @ best[:, :2], change[:, :2] @ best[:, 2] + change[:, 2]])
        assert error(after) > error(best)


@pytest.mark.parametrize("points", [np.full((5, 2), np.nan), np.full((5, 2), 7.0)])
def test_degenerate_points_have_no_similarity(points: np.ndarray) -> None:
    assert fit_similarity(points, FFHQ.array()) is None


def test_landmarks_are_mapped_to_the_template() -> None:
    # Colours encode the source position.
    rows, columns = np.mgrid[:250, :250]
    image = np.dstack([columns, rows, rows * 0]).astype(np.uint8)
    points = moved(FFHQ.array(), turned(0.35, 12, 40, 20))
    matrix = fit_similarity(points, FFHQ.array())
    assert matrix is not None
    face = warp_to_template(image, matrix)
    for point, (x, y) in zip(points, np.round(FFHQ.array()).astype(int), strict=True):
        np.testing.assert_allclose(face[y, x, :2], point, atol=1.5)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_round_trip(scale: float) -> None:
    """``scale``: from the image to the template."""
    size = int(420 / scale)
    rough = np.random.default_rng(1).uniform(20, 235, (12, 12, 3)).astype(np.float32)
    image = cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    matrix = turned(scale, 5, 60, 20)
    back = warp_from_template(warp_to_template(image, matrix).astype(np.float32), matrix, size, size)
    inside = slice(size // 8, -size // 8)
    assert np.abs(back - image)[inside, inside].mean() < 1.5


def test_reduction_averages_fine_patterns() -> None:
    plane = np.zeros((SIZE, SIZE), np.float32)
    plane[:, ::4] = 1
    small = warp_from_template(plane, turned(4.13, 0, 0, 0), 120, 120)[10:110, 10:110]
    assert small.mean() == pytest.approx(0.25, abs=0.01)
    assert small.std() < 0.08  # 0.35 without a low-pass


@pytest.mark.parametrize("template", [FFHQ, GPEN])
def test_oval_covers_the_points_and_not_the_border(template: Template) -> None:
    mask = oval(template)
    x, y = np.round(template.array()).astype(int).T
    np.testing.assert_allclose(mask[y, x], 1, atol=0.01)
    border = np.concatenate([mask[:20].ravel(), mask[-20:].ravel(), mask[:, :20].ravel(), mask[:, -20:].ravel()])
    assert not border.any()
    assert np.abs(np.diff(mask, axis=0)).max() < 0.06
