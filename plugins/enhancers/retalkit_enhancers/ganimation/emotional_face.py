"""Emotion editing with GANimation at the face's original size."""

from __future__ import annotations

import torch
from retalkit.inference import CompiledNetwork, compile_network, empty_network, load_weights
from retalkit.stages import Runtime
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.ganimation.emotions import UNITS, unit_strengths
from retalkit_enhancers.ganimation.generator import SIZE, Generator

NETWORK = "ganimation"


class _Blended(nn.Module):
    """Generator that blends its result over the input face."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, faces: Tensor, units: Tensor) -> Tensor:
        return self.generator(faces, units).blend(faces)


class EmotionalFace:
    """Callable that applies one emotion to faces."""

    def __init__(self, runtime: Runtime, emotion: str) -> None:
        """Load the generator. Raises WeightsError if the checkpoint does not match the network."""
        weights = runtime.weights[NETWORK]

        def load() -> CompiledNetwork:
            generator = load_weights(empty_network(Generator), weights)
            inputs = [torch.zeros(1, 3, SIZE, SIZE), torch.zeros(1, len(UNITS))]
            return compile_network(_Blended(generator), inputs, runtime)

        self._network = runtime.shared((NETWORK, weights), load)
        self._units = torch.tensor([unit_strengths(emotion)])

    def __call__(self, faces: Tensor) -> Tensor:
        """Return faces [B, 3, h, w], BGR in [0, 1], with the emotion applied.

        As in the published code, faces are resized to 128 x 128 and back with bilinear interpolation and without
        antialiasing. Resizing removes fine detail.
        """
        small = functional.interpolate(faces * 2 - 1, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        changed = self._network(small, self._units.expand(len(faces), -1))[0] / 2 + 0.5
        return functional.interpolate(changed, size=faces.shape[2:], mode="bilinear", align_corners=False)
