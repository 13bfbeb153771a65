"""Random numbers of third-party networks depend on the frame, although torch's global generators are used."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="restoration enhancers need the extra: pip install 'retalkit[paper]'")

from retalkit.stages import Runtime
from retalkit_enhancers.restoration.third_party import ThirdPartyRestorer


def noisy_network(face: torch.Tensor) -> torch.Tensor:
    """A slow network that draws noise twice."""
    first = torch.randn(1, 3, 8, 8)
    time.sleep(0.002)
    return (face + 0.1 * (first + torch.randn(1, 3, 8, 8)).mean()).clamp(-1, 1)


def test_noise_of_concurrent_restorers_is_independent() -> None:
    faces = np.full((30, 512, 512, 3), 100, np.uint8)[:, :8, :8]
    indexes = np.arange(30)
    alone = ThirdPartyRestorer(noisy_network, Runtime()).restore(faces, indexes, seed=5)
    assert len(np.unique(alone[:, 0, 0, 0])) == 30
    state = torch.get_rng_state()
    with ThreadPoolExecutor(2) as pool:
        restorers = [ThirdPartyRestorer(noisy_network, Runtime()) for _ in range(2)]
        both = list(pool.map(lambda each: each.restore(faces, indexes, seed=5), restorers))
    for one in both:
        np.testing.assert_array_equal(one, alone)
    assert torch.equal(torch.get_rng_state(), state)
