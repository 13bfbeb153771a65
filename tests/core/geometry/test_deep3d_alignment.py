"""Alignment and cropping of faces, compared with the published implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.geometry.deep3d_alignment import align_face, five_points, weak_perspective

from tests.pseudo_weights import load_module

Published = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> Published:
    with np.load(shared_parity / "pure_geometry.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def image(shared_parity: Path) -> NDArray[np.uint8]:
    """The image [256, 256, 3] that the published values were computed with."""
    inputs = load_module(shared_parity / "inputs.py")
    values = inputs.img(np.random.default_rng(0), 1, 3, 256, 256)[0]
    return np.round(values * 255).astype(np.uint8).transpose(1, 2, 0)


def upwards(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points * (1, -1) + (0, 255)


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_matches_published_alignment(published: Published, image: NDArray[np.uint8], case: str) -> None:
    landmarks = published[f"lm68_img_{case}"]
    aligned = align_face(image, landmarks, published["lm3d_synthetic"])
    assert aligned is not None
    assert np.array_equal(aligned.image, published[f"al_img_{case}"])
    assert np.abs(aligned.parameters - published[f"tp_{case}"]).max() <= 1e-5
    assert np.abs(aligned.landmarks - published[f"al_lm_{case}"]).max() <= 1e-5


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_five_points_and_fit_match_published_values(published: Published, case: str) -> None:
    five = five_points(upwards(published[f"lm68_img_{case}"]))
    assert np.abs(five - published[f"lm5_{case}"]).max() <= 1e-9
    origin, scale = weak_perspective(five, published["lm3d_synthetic"])
    assert np.abs(origin - published[f"pos_t_{case}"][:, 0]).max() <= 1e-5
    assert abs(scale - published[f"pos_s_{case}"]) <= 1e-5


def test_standard_face_matches_published_values(published: Published, image: NDArray[np.uint8]) -> None:
    """The published pipeline uses the standard face in a frame without a face; ours skips such a frame."""
    standard = published["lm3d_synthetic"]
    aligned = align_face(image, upwards((standard[:, :2] + 1) / 2 * 256), standard)
    assert aligned is not None
    assert np.abs(aligned.parameters - published["tp_noface"]).max() <= 1e-5
    assert np.abs(aligned.landmarks - published["al_lm_noface"]).max() <= 1e-5


def test_aligned_face_matches_the_standard_face(shared_parity: Path) -> None:
    from scipy.io import loadmat

    standard = loadmat(shared_parity / "similarity_Lm3D_all.mat")["lm"]
    turn = np.array([[0.9, 0.1, 0.2], [-0.1, 0.95, 0.1]])
    points = upwards(standard @ turn.T * 60 + (140, 120))
    frame = np.zeros((256, 256, 3), np.uint8)
    aligned = align_face(frame, points.astype(np.float32), standard)
    same = align_face(frame, five_points(points), five_points(standard))
    assert aligned is not None and same is not None
    lengths = np.linalg.norm(turn, axis=1).mean()
    assert np.allclose(aligned.landmarks, standard @ turn.T * 102 / lengths + 112, atol=1.5)
    assert np.allclose(aligned.parameters, [256, 256, 102 / 60 / lengths, 140, 120], rtol=1e-5)
    assert np.allclose(aligned.parameters, same.parameters, rtol=1e-5)


@pytest.mark.parametrize("fault", ["nan", "coincident", "tiny", "huge"])
def test_invalid_points_give_none(published: Published, image: NDArray[np.uint8], fault: str) -> None:
    points = published["lm68_img_a"].copy()
    if fault == "nan":
        points[3] = np.nan
    elif fault == "coincident":
        points[:] = (100.1, 99.7)
    elif fault == "tiny":
        points = points * 0.03 + 100
    else:
        points = points * 1000
    assert align_face(image, points, published["lm3d_synthetic"]) is None


def test_pixels_outside_the_image_are_black(image: NDArray[np.uint8], published: Published) -> None:
    points = published["lm68_img_a"] - (0, 90)
    bright = np.maximum(image, 1)
    face = align_face(bright, points, published["lm3d_synthetic"])
    assert face is not None
    empty = (face.image == 0).all(axis=(1, 2))
    assert empty[:20].all() and not empty[100:].any()
