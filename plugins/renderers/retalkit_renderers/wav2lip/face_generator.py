"""Batched face generation with Wav2Lip."""

from __future__ import annotations

from retalkit.stages import Runtime

from retalkit_renderers.face_generation import BatchedFaceGenerator
from retalkit_renderers.wav2lip.network import SIDE, Wav2LipGenerator


class FaceGenerator(BatchedFaceGenerator):
    """Face generator that runs Wav2Lip in batches."""

    def __init__(self, checkpoint: str, runtime: Runtime, batch: int) -> None:
        """Load the network. Raises WeightsError if the checkpoint does not match the network.

        ``checkpoint``: checkpoint name. ``batch``: maximum number of faces per network call on a GPU.
        """
        super().__init__(checkpoint, Wav2LipGenerator, SIDE, runtime, batch)
