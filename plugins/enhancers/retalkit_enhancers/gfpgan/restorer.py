"""GFPGAN ready to restore faces: loaded, on its device, with its noise and the published scaling of pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, full_batches, load_weights, noise_generator
from retalkit.stages import Runtime
from torch import Tensor

from retalkit_enhancers.gfpgan.generator import NOISE_SIZES
from retalkit_enhancers.gfpgan.interface import NETWORK
from retalkit_enhancers.gfpgan.network import Gfpgan, empty_network
from retalkit_enhancers.restoration.pixels import from_network, to_network


class GfpganRestorer:
    """The loaded network. Its noise belongs to the frame: each frame has a generator of its own."""

    def __init__(self, runtime: Runtime, seed: int = 0, batch: int = 1) -> None:
        """``batch``: faces that go through the network together. Raises WeightsError where the file does not fit."""
        self._device, self._precision, self._batch = runtime.device, runtime.precision, batch
        self._seed = seed
        with computing(self._device, self._precision):
            self._network: Gfpgan = load_weights(empty_network(), runtime.weights[NETWORK], self._device).arrange()
        self._noisy = self._network.is_noisy

    def restore(self, faces: NDArray[np.uint8], indexes: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [B, 512, 512, 3], RGB in [0, 1]: restored faces of RGB uint8 [B, 512, 512, 3].

        ``indexes`` int64 [B]: position of each face in the output; with the seed it chooses the face's noise.
        """
        restored = np.empty(faces.shape, np.float32)
        with computing(self._device, self._precision):
            for rows, wanted in full_batches(len(faces), self._batch, self._device):
                noise = self._noise(indexes[rows].tolist()) if self._noisy else None
                drawn = from_network(self._network(to_network(faces[rows], self._device), noise))
                restored[rows[:wanted]] = drawn[:wanted]
        return restored

    def _noise(self, indexes: Sequence[int]) -> list[Tensor]:
        generators = [noise_generator(self._seed, index) for index in indexes]
        return [
            torch.cat([torch.randn(1, 1, size, size, generator=each) for each in generators]).to(self._device)
            for size in NOISE_SIZES
        ]
