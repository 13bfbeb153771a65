"""Networks of other packages as restorers: what such a network does by chance must not show."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, noise_generator
from retalkit.stages import Runtime
from torch import Tensor

from retalkit_enhancers.restoration.pixels import from_network, to_network


class ForeignRestorer:
    """Restores faces one at a time. Noise that the network draws belongs to the frame."""

    def __init__(self, network: Callable[[Tensor], Tensor], runtime: Runtime, seed: int = 0) -> None:
        """``network``: [1, 3, 512, 512], red first, in [-1, 1], on the runtime's device -> the same of the restored
        face."""
        self._network = network
        self._device, self._precision, self._seed = runtime.device, runtime.precision, seed

    def restore(self, faces: NDArray[np.uint8], indexes: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [B, 512, 512, 3], RGB in [0, 1]: restored faces of RGB uint8 [B, 512, 512, 3].

        ``indexes`` int64 [B]: position of each face in the output; with the seed it chooses the face's noise.
        """
        restored = np.empty(faces.shape, np.float32)
        with computing(self._device, self._precision):
            for row, index in enumerate(indexes.tolist()):
                # Foreign networks may look at their pictures in the order of memory.
                face = to_network(faces[row : row + 1], self._device).contiguous()
                with _noise_of(self._seed, index, self._device):
                    restored[row] = from_network(self._network(face))[0]
        return restored


_RANDOM = Lock()
"""torch's own generators are the process's, and stages of one run work in several threads."""


@contextmanager
def _noise_of(seed: int, index: int, device: str) -> Generator[None]:
    """torch's own generators, which such a network draws from, start at the frame's number and are put back after."""
    place = torch.device(device)
    devices = [place.index or 0] if place.type == "cuda" else []
    with _RANDOM, torch.random.fork_rng(devices=devices):
        torch.manual_seed(noise_generator(seed, index).initial_seed())
        yield
