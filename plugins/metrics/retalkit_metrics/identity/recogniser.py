"""Recogniser ``arcface``, which uses the network of the metric ``identity``."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.geometry.schemes import MESH478
from retalkit.inference import computing, load_weights
from retalkit.stages import FaceImage, Runtime
from torch import nn

from retalkit_metrics.identity.alignment import aligned_face
from retalkit_metrics.identity.interface import NETWORK
from retalkit_metrics.identity.network import empty_network

Float = NDArray[np.float32]

BOUNDARY: Final = 0.3
"""Cosine similarity at which one person and two people are about equally probable."""


class ArcFaceRecogniser:
    """Recogniser with descriptors of 512 values and unit length."""

    def __init__(self, runtime: Runtime) -> None:
        """Load the network. Raises WeightsError if the checkpoint does not match the network."""
        weights = runtime.weights[NETWORK]

        def load() -> nn.Module:
            return load_weights(empty_network(), weights, runtime.device)

        self._device = runtime.device
        self._network = runtime.shared((NETWORK, "recogniser", weights), load)

    def describe(self, face: FaceImage) -> Float | None:
        """Return the descriptor, float32 [512], or None if the face is too small or has no mesh landmarks."""
        chip = aligned_face(face.image, face.landmarks) if face.landmark_scheme == MESH478 else None
        if chip is None:
            return None
        # The network was trained on BGR images, see ``retalkit_metrics.identity.metric``.
        tensor = torch.from_numpy(np.ascontiguousarray(chip[None, ..., ::-1].transpose(0, 3, 1, 2)))
        with computing(self._device, "float32"):
            values = self._network(tensor.to(self._device).float() / 127.5 - 1)[0].cpu().numpy()
        return (values / max(float(np.linalg.norm(values)), 1e-6)).astype(np.float32)

    def distance(self, one: Float, other: Float) -> float:
        """Return 1 - cosine similarity in units of the boundary."""
        cosine = float(one @ other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-6)
        return (1.0 - cosine) / (1.0 - BOUNDARY)
