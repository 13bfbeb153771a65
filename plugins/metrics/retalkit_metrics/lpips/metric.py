"""LPIPS between the output's face and a clip with identical words, computed frame by frame."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, load_weights
from retalkit.metrics import Scores
from retalkit.metrics.scene import Scene, ScoredFrame
from torch import Tensor

from retalkit_metrics.frame_sampling import FrameSampler
from retalkit_metrics.lpips.interface import FEATURES, LINEAR
from retalkit_metrics.lpips.network import distance, empty_features, empty_linear
from retalkit_metrics.square_crops import SquareCrops

MAX_SIDE: Final = 256
"""Maximum side of a face crop in pixels. Larger crops are reduced to this side, because LPIPS was calibrated on
64-pixel patches of small images.
"""


class LpipsMetric:
    """Metric ``lpips``, computed by AlexNet."""

    def open(self, scene: Scene) -> LpipsSession:
        """Open a session. Raises WeightsError if a checkpoint does not match its network."""
        return LpipsSession(scene)


class LpipsSession:
    """Metric session that computes the mean distance over sampled frames with a face of at least 64 pixels.

    The result is NaN if there are no such frames.
    """

    def __init__(self, scene: Scene) -> None:
        self._features = load_weights(empty_features(), scene.weights[FEATURES], scene.device)
        self._linear = load_weights(empty_linear(), scene.weights[LINEAR], scene.device)
        self._device = scene.device
        self._crops = SquareCrops(scene, MAX_SIDE)
        self._sampler = FrameSampler()
        self._distances: list[float] = []

    def add(self, frame: ScoredFrame) -> None:
        """Process the next frame."""
        if not self._sampler.selects(frame.time) or (pair := self._crops.crop(frame)) is None:
            return
        with computing(self._device, "float32"):
            one, other = (self._tensor(image) for image in pair)
            self._distances.append(float(distance(self._features, self._linear, one, other)[0]))

    def result(self) -> Scores:
        """Return a mapping from measure name to value."""
        return {"lpips": float(np.mean(self._distances)) if self._distances else float("nan")}

    def _tensor(self, image: NDArray[np.uint8]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(self._device)
        return tensor[None].float() / 127.5 - 1
