"""Extraction and pasting of the aligned face square, compared with the published steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.geometry.face_quad import extract_quad, face_quad, paste_quad, perspective_to_square

from tests.pseudo_weights import load_module

Image = NDArray[np.uint8]
SIZE = 256


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> dict[str, NDArray[Any]]:
    with np.load(shared_parity / "pure_geometry.npz") as stored:
        return {name: stored[name] for name in stored.files if name.startswith("st_")}


@pytest.fixture(scope="module")
def images(shared_parity: Path) -> tuple[Image, Image]:
    """The source image of the squares, and the image that they are pasted into."""
    make = load_module(shared_parity / "inputs.py").img
    source, target = (
        np.round(make(np.random.default_rng(seed), 1, 3, SIZE, SIZE)[0].transpose(1, 2, 0) * 255).astype(np.uint8)
        for seed in (0, 7)
    )
    return source, target


@pytest.mark.parametrize("face", [0, 1])
def test_matches_published_values(published: dict[str, Any], images: tuple[Image, Image], face: int) -> None:
    source, target = images
    quad = face_quad(published["st_lm"][face])
    assert np.abs(quad - published["st_quads"][face]).max() < 1e-9
    assert np.abs(perspective_to_square(quad, SIZE) - published["st_inv"][face]).max() < 1e-5
    square = extract_quad(source, quad, SIZE)
    assert np.array_equal(square[::2, ::2], published["st_crops"][face])
    pasted = paste_quad(target, square, quad)
    assert np.array_equal(pasted[::2, ::2], published["st_paste"][face][..., :3])


def test_pixels_outside_the_square_are_unchanged(images: tuple[Image, Image]) -> None:
    source, target = images
    quad = np.array([[100.0, 40.0], [60.0, 140.0], [160.0, 180.0], [200.0, 80.0]])
    pasted = paste_quad(target, extract_quad(source, quad, 64), quad)
    y, x = np.mgrid[:SIZE, :SIZE]
    middle, side = quad.mean(0), np.array([40.0, -100.0]) / np.hypot(40.0, 100.0)
    along = (x - middle[0]) * side[0] + (y - middle[1]) * side[1]
    across = (x - middle[0]) * side[1] - (y - middle[1]) * side[0]
    distance = np.maximum(np.abs(along), np.abs(across)) - np.hypot(40.0, 100.0) / 2
    assert np.array_equal(pasted[distance > 1], target[distance > 1])
    inside = distance < -1
    assert (
        np.abs(pasted[inside].astype(int) - source[inside]).mean()
        < 0.3 * np.abs(target[inside].astype(int) - source[inside]).mean()
    )


def test_square_is_black_outside_the_image(images: tuple[Image, Image]) -> None:
    source, target = images
    quad = np.array([[-64.0, 0.0], [-64.0, 128.0], [64.0, 128.0], [64.0, 0.0]]) - 0.5
    square = extract_quad(source, quad, 128)
    assert not square[:, :64].any()
    assert np.array_equal(square[:, 64:], source[:128, :64])
    pasted = paste_quad(target, square, quad)
    assert np.array_equal(pasted[:128, :64], source[:128, :64])
    assert np.array_equal(pasted[128:], target[128:]) and np.array_equal(pasted[:, 64:], target[:, 64:])
