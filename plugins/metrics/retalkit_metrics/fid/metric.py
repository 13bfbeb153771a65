"""FID between output faces and original faces, computed from frames at identical times.

An FID estimate from few features is biased upwards (Chong and Forsyth, "Effectively unbiased FID and Inception Score
and where to find them", CVPR 2020). A clip provides only a few dozen features for 2048 dimensions. The bias is similar
for all variants of a clip that are evaluated on identical frames, but differs between clips.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, load_weights
from retalkit.metrics import Scores
from retalkit.metrics.scene import Scene, ScoredFrame

from retalkit_metrics.fid.frechet import frechet_distance
from retalkit_metrics.fid.interface import NETWORK
from retalkit_metrics.fid.network import SIZE, empty_network
from retalkit_metrics.frame_sampling import FrameSampler
from retalkit_metrics.square_crops import SquareCrops

MIN_FACES: Final = 10
"""Minimum number of faces, which corresponds to two seconds of video."""


class FidMetric:
    """Metric ``fid``, computed by the Inception network."""

    def open(self, scene: Scene) -> FidSession:
        """Open a session. Raises WeightsError if the checkpoint does not match the network."""
        return FidSession(scene)


class FidSession:
    """Metric session that collects the Inception features of the sampled frames.

    Crops larger than the network's 299-pixel input are reduced by area averaging (Parmar et al., "On aliased resizing
    and surprising subtleties in GAN evaluation", CVPR 2022). Smaller crops are enlarged as in pytorch-fid.
    """

    def __init__(self, scene: Scene) -> None:
        self._network = load_weights(empty_network(), scene.weights[NETWORK], scene.device)
        self._device = scene.device
        self._crops = SquareCrops(scene, SIZE)
        self._sampler = FrameSampler()
        self._output: list[NDArray[np.float32]] = []
        self._original: list[NDArray[np.float32]] = []

    def add(self, frame: ScoredFrame) -> None:
        """Process the next frame."""
        if not self._sampler.selects(frame.time) or (pair := self._crops.crop(frame)) is None:
            return
        with computing(self._device, "float32"):
            images = torch.from_numpy(np.stack(pair).transpose(0, 3, 1, 2).copy()).to(self._device)
            output, original = self._network(images.float() / 255).cpu().numpy()
        self._output.append(output)
        self._original.append(original)

    def result(self) -> Scores:
        """Return a mapping from measure name to value."""
        if len(self._output) < MIN_FACES:
            return {"fid": float("nan")}
        return {"fid": frechet_distance(np.stack(self._output), np.stack(self._original))}
