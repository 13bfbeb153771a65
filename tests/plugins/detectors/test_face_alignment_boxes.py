"""Boxes from S3FD's maps, compared with the library and with known boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'retalkit[face-alignment]'")
pytest.importorskip("face_alignment", reason="needs the extra: pip install 'retalkit[face-alignment]'")

from face_alignment.detection.sfd.sfd_detector import SFDDetector
from retalkit.stages import Runtime
from retalkit_detectors.face_alignment.boxes import (
    decode_boxes,
    find_boxes,
    plausible,
    search_sides,
    shrink,
    to_tensor,
)
from retalkit_detectors.face_alignment.networks import load_networks

from tests.plugins.detectors.synthetic_faces import blank_maps, write_face


def test_boxes_match_the_library(pseudo_weights: Callable[[str], Path]) -> None:
    weights = {name: pseudo_weights(name) for name in ("s3fd", "fan")}
    network = load_networks(Runtime(inference="torch", weights=weights)).s3fd
    image = np.random.default_rng(3).integers(0, 256, (144, 200, 3), np.uint8)
    library = SFDDetector.__new__(SFDDetector)
    # Without its constructor, which downloads.
    library.device, library.face_detector, library.filter_threshold = "cpu", network, 0.6
    with torch.inference_mode():
        theirs = np.array(library.detect_from_image(image))
        ours = decode_boxes(network(to_tensor(image)), 0.6)
    assert len(ours) > 3
    np.testing.assert_allclose(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)], atol=1e-3)


@pytest.mark.parametrize("side", [20, 50, 90, 200, 400])
def test_a_face_of_any_size_is_found_once(side: int) -> None:
    maps = blank_maps(480, 640)
    box = np.array([75.25, 31.5, 75.25 + side, 31.5 + side * 1.2])
    write_face(maps, box)
    found = decode_boxes(maps, 0.5)
    assert found.shape == (1, 5)
    np.testing.assert_allclose(found[0], [*box, 0.99], atol=1e-3)


def test_faces_are_sorted_by_score_and_weak_ones_dropped() -> None:
    maps = blank_maps(480, 640)
    one, other, weak = (np.array([x, 100.0, x + 80, 200.0]) for x in (40.0, 240.0, 440.0))
    write_face(maps, one, (0.7,))
    write_face(maps, other, (0.95, 0.6))
    write_face(maps, weak, (0.5,))
    np.testing.assert_allclose(decode_boxes(maps, 0.51)[:, 0], [240.0, 40.0], atol=1e-3)


def test_implausible_boxes_are_dropped() -> None:
    assert decode_boxes(blank_maps(480, 640), 0.5).shape == (0, 5)
    maps = blank_maps(64, 64)
    maps[0][:, 1] = 9.0
    maps[1][:, 2:] = 1e4  # an infinite size
    assert decode_boxes(maps, 0.5).shape == (0, 5)
    face, vast, outside, speck = [10, 10, 40, 50, 1], [-300, -300, 390, 390, 1], [-40, 5, -2, 40, 1], [9, 9, 10, 10, 1]
    np.testing.assert_array_equal(plausible(np.array([vast, face, outside, speck], float), 64, 64), [face])


def test_number_of_boxes_is_limited() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(size.shape, generator=generator) for size in blank_maps(720, 1280)]
    assert 0 < len(decode_boxes(maps, 0.5)) <= 1000


@pytest.mark.parametrize(
    ("longest", "first", "last", "expected"),
    [
        (1280, 640, 1280, [640, 1280]),
        (1920, 640, 1280, [640, 1280]),
        (3840, 640, 3840, [640, 1280, 2560, 3840]),
        (320, 640, 1280, [320]),
        (700, 640, 1280, [640, 700]),
        (1920, 800, 640, [800]),
    ],
)
def test_search_sides_double_up_to_the_last(longest: int, first: int, last: int, expected: list[int]) -> None:
    assert list(search_sides(longest, first, last)) == expected


def test_larger_sides_are_searched_only_without_a_face() -> None:
    shown: list[tuple[int, ...]] = []

    def network(images: torch.Tensor) -> list[torch.Tensor]:
        shown.append(tuple(images.shape[2:]))
        maps = blank_maps(*images.shape[2:])
        if images.shape[3] >= 200:
            write_face(maps, np.array([50.0, 20.0, 90.0, 60.0]))
        return maps

    image = np.zeros((225, 400, 3), np.uint8)
    found = find_boxes(image, network, search_sides(400, 100, 400), 0.5)
    assert shown == [(56, 100), (112, 200)]
    np.testing.assert_allclose(found[0, :4], [100, 20 * 225 / 112, 180, 60 * 225 / 112], atol=1e-3)


def test_input_is_bgr_minus_mean_and_padded_to_the_smallest_size() -> None:
    image = np.zeros((20, 50, 3), np.uint8)
    image[..., 0] = 200
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 32, 50)
    assert tensor[0, :, 0, 0].tolist() == [-104.0, -117.0, 77.0]
    assert tensor[0, :, 20:].abs().max() == 0


def test_frames_are_shrunk_by_area_and_never_enlarged() -> None:
    image = np.zeros((90, 160, 3), np.uint8)
    image[:, ::2] = 100
    small = shrink(image, 80)
    assert small.shape == (45, 80, 3)
    assert np.unique(small).tolist() == [50]
    assert shrink(image, 200) is image
