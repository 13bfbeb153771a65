"""Batched face generation with L-Net."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import CompiledNetwork, compile_network, empty_network, full_batches, load_weights
from retalkit.stages import Runtime

from retalkit_renderers.lnet.interface import NETWORK
from retalkit_renderers.lnet.network import SIDE, LNet

Float = NDArray[np.float32]


class FaceGenerator:
    """Face generator that runs L-Net in batches."""

    def __init__(self, runtime: Runtime, batch: int) -> None:
        """Load the network. Raises WeightsError if the checkpoint does not match the network.

        ``batch``: maximum number of faces per network call on a GPU.
        """
        self._device, self._batch = runtime.device, batch
        weights = runtime.weights[NETWORK]

        def load() -> CompiledNetwork:
            network = load_weights(empty_network(LNet), weights)
            return compile_network(network, [torch.zeros(1, 1, 80, 16), torch.zeros(1, 6, SIDE, SIDE)], runtime)

        self._network = runtime.shared((NETWORK, weights), load)

    def __call__(self, mel: Float, faces: Float) -> Float:
        """Return the generated faces, float32 [T, 96, 96, 3], RGB in [0, 1].

        ``mel``: mel windows in [-4, 4], float32 [T, 80, 16]. ``faces``: masked face and reference face, BGR in [0, 1],
        float32 [T, 6, 96, 96]. On the CPU, a result does not depend on the other faces in the call. On a GPU, the
        position in the batch may change the last digits.
        """
        generated = np.empty((len(faces), *faces.shape[2:], 3), np.float32)
        for rows, wanted in full_batches(len(faces), self._batch, self._device):
            images = self._network(torch.from_numpy(mel[rows, None]), torch.from_numpy(faces[rows]))[0][:wanted]
            generated[rows[:wanted]] = images.flip(1).permute(0, 2, 3, 1).clamp(0, 1).numpy()
        return generated
