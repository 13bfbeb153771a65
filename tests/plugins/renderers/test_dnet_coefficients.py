"""Driving coefficients of D-Net compared with the published functions; windows end with the shot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit_renderers.dnet.coefficients import crop_norm_ratio, driving_window, replace_expression, split, window
from retalkit_renderers.dnet.shots import first_of_shot, window_rows

from tests.plugins.renderers.dnet_clips import only_numbers


@pytest.fixture(scope="module")
def known(shared_parity: Path) -> dict[str, NDArray[Any]]:
    with np.load(shared_parity / "pure_coeffs.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("index", [0, 5, 20, 39])
def test_driving_window_matches_published(known: dict[str, Any], index: int) -> None:
    rows = known["semantic"]
    around = rows[window(index, 0, len(rows) - 1)]
    ratio = crop_norm_ratio(rows[index], rows)
    assert ratio == known[f"ratio_{index}"][0] == 1.0
    assert np.abs(driving_window(around, ratio) - known[f"sem_{index}"]).max() <= 1e-5
    assert np.abs(driving_window(around) - known[f"sem_noratio_{index}"]).max() <= 1e-5


def test_crop_ratio_changes_the_scale_as_published(known: dict[str, Any]) -> None:
    rows = known["semantic"]
    ratio = crop_norm_ratio(rows[0], rows[7:])
    assert ratio == pytest.approx(known["ratio_0_vs_7on"][0], abs=1e-5)
    assert ratio != 1.0
    driving = driving_window(rows[window(5, 0, 39)], ratio)
    assert np.abs(driving - known["sem_5_ratio_0_vs_7on"]).max() <= 1e-5


@pytest.mark.parametrize(("index", "count"), [(0, 40), (39, 40), (0, 1)])
def test_window_repeats_the_ends(known: dict[str, Any], index: int, count: int) -> None:
    assert np.array_equal(window(index, 0, count - 1), known[f"seq_index_{index}_{count}"])


def test_parts_match_published(known: dict[str, Any]) -> None:
    parts = split(known["coeff257"])
    for part, name in zip(parts, ("id", "exp", "tex", "angle", "gamma", "trans"), strict=True):
        assert np.array_equal(part, known[f"split_{name}"])


def test_replace_expression_changes_only_the_expression(known: dict[str, Any]) -> None:
    driving = known["sem_5"]
    expression = np.arange(64, dtype=np.float32)
    replaced = replace_expression(driving, expression)
    assert (replaced[:64] == expression[:, None]).all()
    assert np.array_equal(replaced[64:], driving[64:])
    assert not np.array_equal(driving[:64], replaced[:64])


def test_window_stays_inside_the_shot() -> None:
    clip = only_numbers(60)
    clip.numbers[20:] = 1
    clip.numbers[50:] = -1
    for index, first, last in ((3, 0, 19), (18, 0, 19), (20, 20, 49), (25, 20, 49), (48, 20, 49)):
        found = window_rows(clip, index)
        assert found is not None
        assert np.array_equal(found, clip.rows[window(index, first, last)])
    assert window_rows(clip, 55) is None


def test_shot_number_that_occurs_again_is_another_shot() -> None:
    clip = only_numbers(30)
    clip.numbers[10:14] = 1
    found = window_rows(clip, 5)
    assert found is not None
    assert np.array_equal(found, clip.rows[window(5, 0, 9)])
    found = window_rows(clip, 16)
    assert found is not None
    assert np.array_equal(found, clip.rows[window(16, 14, 29)])


def test_frames_without_fit_use_the_nearest_fit() -> None:
    clip = only_numbers(40)
    clip.rows[[0, 11, 12]] = np.nan
    found = window_rows(clip, 10)
    assert found is not None
    places = window(10, 0, 39)
    places[places == 0], places[places == 11], places[places == 12] = 1, 10, 13
    assert np.array_equal(found, clip.rows[places])
    assert window_rows(clip, 11) is None


def test_first_frame_of_a_long_shot_is_found() -> None:
    clip = only_numbers(3000)
    clip.numbers[7:] = 1
    assert first_of_shot(clip, 2999) == 7
    assert first_of_shot(clip, 7) == 7
    assert first_of_shot(clip, 6) == 0
