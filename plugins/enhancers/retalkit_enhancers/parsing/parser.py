"""Pixel classification of aligned faces with ParseNet."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import CompiledNetwork, compile_network, empty_network, load_weights
from retalkit.stages import Runtime

from retalkit_enhancers.parsing.interface import NETWORK
from retalkit_enhancers.parsing.network import SIZE, ParseNet
from retalkit_enhancers.restoration.face_tensors import to_tensor


class FaceParser:
    """Pixel classifier for aligned faces."""

    def __init__(self, runtime: Runtime) -> None:
        """Load ParseNet. Raises WeightsError if the checkpoint does not match the network."""
        weights = runtime.weights[NETWORK]

        def load() -> CompiledNetwork:
            network = load_weights(empty_network(ParseNet), weights)
            return compile_network(network, [torch.zeros(1, 3, SIZE, SIZE)], runtime)

        self._network = runtime.shared((NETWORK, weights), load)

    def classes(self, face: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the class of each pixel, uint8 [512, 512] from 0 to 18 (see ``masks``).

        ``face``: RGB uint8 [512, 512, 3].
        """
        return self._network(to_tensor(face[None]))[0][0].argmax(0).to(torch.uint8).numpy()
