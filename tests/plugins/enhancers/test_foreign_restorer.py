"""Networks of other packages draw from torch's own generators: what they draw belongs to the frame all the same."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="restoration enhancers need the extra: pip install 'retalkit[paper]'")

from retalkit.observer import SilentObserver
from retalkit.stages import StageContext
from retalkit_enhancers.restoration.foreign import ForeignRestorer


def drawing(face: torch.Tensor) -> torch.Tensor:
    """A network that takes its time and draws noise twice."""
    first = torch.randn(1, 3, 8, 8)
    time.sleep(0.002)
    return (face + 0.1 * (first + torch.randn(1, 3, 8, 8)).mean()).clamp(-1, 1)


def test_two_that_work_at_the_same_time_draw_their_own_noise() -> None:
    context = StageContext(None, SilentObserver(), seed=5)  # type: ignore[arg-type]
    faces = np.full((30, 512, 512, 3), 100, np.uint8)[:, :8, :8]
    indexes = np.arange(30)
    alone = ForeignRestorer(drawing, context).restore(faces, indexes)
    assert len(np.unique(alone[:, 0, 0, 0])) == 30
    state = torch.get_rng_state()
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: ForeignRestorer(drawing, context).restore(faces, indexes), range(2)))
    for one in both:
        np.testing.assert_array_equal(one, alone)
    assert torch.equal(torch.get_rng_state(), state)
