"""Batched face generation with L-Net."""

from __future__ import annotations

from retalkit.stages import Runtime

from retalkit_renderers.face_generation import BatchedFaceGenerator
from retalkit_renderers.lnet.interface import NETWORK
from retalkit_renderers.lnet.network import SIDE, LNet


class FaceGenerator(BatchedFaceGenerator):
    """Face generator that runs L-Net in batches."""

    def __init__(self, runtime: Runtime, batch: int) -> None:
        """Load the network. Raises WeightsError if the checkpoint does not match the network.

        ``batch``: maximum number of faces per network call on a GPU.
        """
        super().__init__(NETWORK, LNet, SIDE, runtime, batch)
