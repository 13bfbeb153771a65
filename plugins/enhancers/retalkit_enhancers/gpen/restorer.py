"""GPEN ready to restore faces: loaded, on its device, with the published scaling of pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.inference import computing, full_batches, load_weights
from retalkit.stages import Runtime

from retalkit_enhancers.gpen.interface import NETWORK
from retalkit_enhancers.gpen.network import Gpen, empty_network
from retalkit_enhancers.restoration.pixels import from_network, to_network


class GpenRestorer:
    """The loaded network."""

    def __init__(self, runtime: Runtime, seed: int = 0, batch: int = 1) -> None:
        """``batch``: faces that go through the network together. Raises WeightsError where the file does not fit."""
        self._device, self._precision, self._batch = runtime.device, runtime.precision, batch
        with computing(self._device, self._precision):
            self._network: Gpen = load_weights(empty_network(), runtime.weights[NETWORK], self._device).arrange()

    def restore(self, faces: NDArray[np.uint8], indexes: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [B, 512, 512, 3], RGB in [0, 1]: restored faces of RGB uint8 [B, 512, 512, 3].

        ``indexes`` int64 [B] are not looked at: this network draws no random numbers.
        """
        restored = np.empty(faces.shape, np.float32)
        with computing(self._device, self._precision):
            for rows, wanted in full_batches(len(faces), self._batch, self._device):
                drawn = from_network(self._network(to_network(faces[rows], self._device)))
                restored[rows[:wanted]] = drawn[:wanted]
        return restored
