"""Loading of the GFPGAN restorer."""

from __future__ import annotations

import torch
from retalkit.inference import CompiledNetwork, compile_network, empty_network, load_weights
from retalkit.stages import Runtime
from torch import Tensor, nn

from retalkit_enhancers.gfpgan.generator import NOISE_SIZES
from retalkit_enhancers.gfpgan.interface import NETWORK
from retalkit_enhancers.gfpgan.network import SIZE, Gfpgan
from retalkit_enhancers.restoration.restorer import NetworkRestorer


class _WithNoise(nn.Module):
    """GFPGAN with a separate input for each noise tensor."""

    def __init__(self, network: Gfpgan) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor, *noise: Tensor) -> Tensor:
        return self.network(faces, noise or None)


def gfpgan_restorer(runtime: Runtime, batch: int = 1) -> NetworkRestorer:
    """Load GFPGAN and return its restorer. Raises WeightsError if the checkpoint does not match the network.

    ``batch``: maximum number of faces per network call on a GPU. The noise is deterministic for each frame. A network
    whose noise strengths are all zero receives no noise.
    """
    weights = runtime.weights[NETWORK]

    def load() -> tuple[CompiledNetwork, tuple[int, ...]]:
        network = load_weights(empty_network(Gfpgan), weights)
        sizes = NOISE_SIZES if network.is_noisy else ()
        inputs = [torch.zeros(1, 3, SIZE, SIZE), *(torch.zeros(1, 1, size, size) for size in sizes)]
        return compile_network(_WithNoise(network), inputs, runtime), sizes

    network, sizes = runtime.shared((NETWORK, weights), load)
    return NetworkRestorer(network, runtime.device, batch, sizes)
