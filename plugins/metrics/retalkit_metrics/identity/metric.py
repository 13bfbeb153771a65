"""Cosine similarity between the face embeddings of output and original, computed frame by frame."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, load_weights
from retalkit.metrics import Scores
from retalkit.metrics.scene import Scene, ScoredFrame

from retalkit_metrics.frame_sampling import FrameSampler
from retalkit_metrics.identity.alignment import aligned_face
from retalkit_metrics.identity.interface import NETWORK
from retalkit_metrics.identity.network import empty_network


class IdentityMetric:
    """Metric ``identity``, computed by the face recognition network."""

    def open(self, scene: Scene) -> IdentitySession:
        """Open a session. Raises WeightsError if the checkpoint does not match the network."""
        return IdentitySession(scene)


class IdentitySession:
    """Metric session that computes the median similarity over sampled frames in which both faces were detected.

    The result is NaN if there are no such frames. As in face recognition, each face is aligned by its own landmarks.
    """

    def __init__(self, scene: Scene) -> None:
        self._network = load_weights(empty_network(), scene.weights[NETWORK], scene.device)
        self._device = scene.device
        self._sampler = FrameSampler()
        self._cosines: list[float] = []

    def add(self, frame: ScoredFrame) -> None:
        """Process the next frame."""
        if not self._sampler.selects(frame.time) or frame.original is None:
            return
        output = aligned_face(frame.image, frame.landmarks)
        original = aligned_face(frame.original, frame.original_landmarks)
        if output is None or original is None:
            return
        with computing(self._device, "float32"):
            one, other = self._network(self._tensor(np.stack([output, original])))
            self._cosines.append(float((one * other).sum()))

    def result(self) -> Scores:
        """Return a mapping from measure name to value."""
        return {"identity": float(np.median(self._cosines)) if self._cosines else float("nan")}

    def _tensor(self, faces: NDArray[np.uint8]) -> torch.Tensor:
        # The input is BGR, because the published training set was written with OpenCV without converting the channel
        # order.
        tensor = torch.from_numpy(np.ascontiguousarray(faces[..., ::-1].transpose(0, 3, 1, 2)))
        return tensor.to(self._device).float() / 127.5 - 1
