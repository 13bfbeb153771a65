"""LPIPS of the face, frame by frame, against a clip that shows the same words."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, load_weights
from retalkit.metrics import Scores
from retalkit.metrics.scene import Scene, ScoredFrame
from torch import Tensor

from retalkit_metrics.face_pairs import FaceSquares
from retalkit_metrics.frame_sampling import FrameSampler
from retalkit_metrics.lpips.interface import FEATURES, LINEAR
from retalkit_metrics.lpips.network import distance, empty_features, empty_linear

LARGEST: Final = 256
"""Pixels a side to which larger faces are shrunk: LPIPS was calibrated on parts of 64 pixels of small pictures."""


class LpipsMetric:
    """Opens ``LpipsSession``."""

    def open(self, scene: Scene) -> LpipsSession:
        """Raises WeightsError where a file of weights does not fit."""
        return LpipsSession(scene)


class LpipsSession:
    """Mean over the sampled frames with a face of at least 64 pixels; NaN where there is none."""

    def __init__(self, scene: Scene) -> None:
        self._features = load_weights(empty_features(), scene.weights[FEATURES], scene.device)
        self._linear = load_weights(empty_linear(), scene.weights[LINEAR], scene.device)
        self._device = scene.device
        self._pairs = FaceSquares(scene, LARGEST)
        self._sampler = FrameSampler()
        self._distances: list[float] = []

    def add(self, frame: ScoredFrame) -> None:
        """Takes the next frame."""
        if not self._sampler.wants(frame.time) or (pair := self._pairs.cut(frame)) is None:
            return
        with computing(self._device, "float32"):
            one, other = (self._tensor(image) for image in pair)
            self._distances.append(float(distance(self._features, self._linear, one, other)[0]))

    def result(self) -> Scores:
        """Measure -> value."""
        return {"lpips": float(np.mean(self._distances)) if self._distances else float("nan")}

    def _tensor(self, image: NDArray[np.uint8]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(self._device)
        return tensor[None].float() / 127.5 - 1
