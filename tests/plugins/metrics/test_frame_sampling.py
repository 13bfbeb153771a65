"""Frame sampling for slow networks."""

from __future__ import annotations

import numpy as np
import pytest
from retalkit_metrics.frame_sampling import FrameSampler


def selected(times: np.ndarray) -> list[int]:
    sampler = FrameSampler()
    return [index for index, time in enumerate(times) if sampler.selects(float(time))]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(25.0, [0, 5, 10, 15, 20]), (30.0, [0, 6, 12, 18, 24]), (30000 / 1001, [0, 6, 12, 18, 24]), (4.0, [0, 1, 2, 3])],
)
def test_selects_the_first_frame_of_every_fifth_of_a_second(rate: float, expected: list[int]) -> None:
    assert selected(np.arange(int(rate)) / rate) == expected


def test_tolerates_rounding_of_timestamps() -> None:
    times = np.arange(0, 25) / 25
    assert selected(np.where(times > 0, times - 1e-9, times)) == selected(times)


def test_does_not_catch_up_after_a_gap() -> None:
    assert selected(np.array([0.0, 0.1, 0.95, 0.99, 1.0, 1.05])) == [0, 2, 4]
