"""FID between the faces of a video and those of the original, over the same frames.

An estimate from few features is biased upwards (Chong and Forsyth, "Effectively unbiased FID and Inception Score and
where to find them", CVPR 2020), and a clip has a few dozen for 2048 dimensions. The bias is alike for all variants of
one clip measured on the same frames; it is not alike between clips.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, load_weights
from retalkit.metrics import Scores
from retalkit.metrics.scene import Scene, ScoredFrame

from retalkit_metrics.face_pairs import FaceSquares
from retalkit_metrics.fid.frechet import frechet_distance
from retalkit_metrics.fid.interface import NETWORK
from retalkit_metrics.fid.network import SIZE, empty_network
from retalkit_metrics.frame_sampling import FrameSampler

FEWEST: Final = 10
"""Faces below which there is no value: two seconds."""


class FidMetric:
    """Opens ``FidSession``."""

    def open(self, scene: Scene) -> FidSession:
        """Raises WeightsError where the file of weights does not fit."""
        return FidSession(scene)


class FidSession:
    """Crops larger than the network's 299 pixels are shrunk by area means (Parmar et al., "On aliased resizing and
    surprising subtleties in GAN evaluation", CVPR 2022), smaller ones are enlarged as pytorch-fid does it."""

    def __init__(self, scene: Scene) -> None:
        self._network = load_weights(empty_network(), scene.weights[NETWORK], scene.device)
        self._device = scene.device
        self._pairs = FaceSquares(scene, SIZE)
        self._sampler = FrameSampler()
        self._output: list[NDArray[np.float32]] = []
        self._original: list[NDArray[np.float32]] = []

    def add(self, frame: ScoredFrame) -> None:
        """Takes the next frame."""
        if not self._sampler.wants(frame.time) or (pair := self._pairs.cut(frame)) is None:
            return
        with computing(self._device, "float32"):
            pictures = torch.from_numpy(np.stack(pair).transpose(0, 3, 1, 2).copy()).to(self._device)
            output, original = self._network(pictures.float() / 255).cpu().numpy()
        self._output.append(output)
        self._original.append(original)

    def result(self) -> Scores:
        """Measure -> value."""
        if len(self._output) < FEWEST:
            return {"fid": float("nan")}
        return {"fid": frechet_distance(np.stack(self._output), np.stack(self._original))}
