"""Loading of the GPEN restorer."""

from __future__ import annotations

import torch
from retalkit.inference import CompiledNetwork, compile_network, empty_network, load_weights
from retalkit.stages import Runtime

from retalkit_enhancers.gpen.interface import NETWORK
from retalkit_enhancers.gpen.network import SIZE, Gpen
from retalkit_enhancers.restoration.restorer import NetworkRestorer


def gpen_restorer(runtime: Runtime, batch: int = 1) -> NetworkRestorer:
    """Load GPEN and return its restorer. Raises WeightsError if the checkpoint does not match the network.

    ``batch``: maximum number of faces per network call on a GPU.
    """
    weights = runtime.weights[NETWORK]

    def load() -> CompiledNetwork:
        network = load_weights(empty_network(Gpen), weights)
        return compile_network(network, [torch.zeros(1, 3, SIZE, SIZE)], runtime)

    return NetworkRestorer(runtime.shared((NETWORK, weights), load), runtime.device, batch)
