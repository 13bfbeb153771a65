"""E-Net ready to draw faces: loaded, on its device, with its noise and its memory of references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, full_batches, load_weights, noise_generator
from retalkit.stages import Runtime
from torch import Tensor

from retalkit_enhancers.enet.identities import Identities
from retalkit_enhancers.enet.interface import EMOTION_NETWORK, NETWORK, EnetConfig
from retalkit_enhancers.enet.network import NOISE_SIZES, SIZE, ENet, empty_network
from retalkit_enhancers.enet.places import blue_first
from retalkit_enhancers.ganimation.upper_face import EmotionalFace

_HALF = SIZE // 2


class FaceDrawing:
    """The loaded networks of one session."""

    def __init__(self, config: EnetConfig, runtime: Runtime, seed: int = 0) -> None:
        """Raises WeightsError where a file does not fit."""
        self._keep_upper = config.keep_upper
        self._batch = config.batch
        self._seed, self._device, self._precision = seed, runtime.device, runtime.precision
        with computing(self._device, self._precision):
            self._network: ENet = load_weights(empty_network(), runtime.weights[NETWORK], self._device).arrange()
            self._emotion: EmotionalFace | None = None
            if config.upper_face != "original":
                self._emotion = EmotionalFace(runtime.weights[EMOTION_NETWORK], config.upper_face, self._device)
        self._noisy = self._network.is_noisy
        self._identities = Identities(self._network, self._device)

    def __call__(
        self,
        low: NDArray[np.float32],
        reference: NDArray[np.uint8],
        key: bytes,
        originals: NDArray[np.uint8],
        positions: Sequence[int],
    ) -> NDArray[np.float32]:
        """float32 [T, 384, 384, 3], RGB in [0, 1]: faces that share one reference.

        ``low`` float32 [T, 96, 96, 3], RGB in [0, 1]; ``reference`` RGB uint8 [384, 384, 3] and its ``key``;
        ``originals`` RGB uint8 [T, 384, 384, 3], the faces of the source frames; ``positions`` of the frames in the
        output, which choose their noise.
        """
        drawn = np.empty((len(low), SIZE, SIZE, 3), np.float32)
        with computing(self._device, self._precision):
            identity = self._identities.of(reference, key)
            for rows, wanted in full_batches(len(low), self._batch, self._device):
                noise = self._noise([positions[row] for row in rows])
                faces = self._network.decode(self._tensor(low[rows]), identity, noise).float().clamp(0, 1)
                if self._emotion is not None:
                    emotional = self._emotion(self._tensor(originals[rows]).float() / 255)
                    faces[:, :, :_HALF] = emotional[:, :, :_HALF].clamp(0, 1)
                elif self._keep_upper:
                    faces[:, :, :_HALF] = self._tensor(originals[rows])[:, :, :_HALF].float() / 255
                drawn[rows[:wanted]] = faces[:wanted].permute(0, 2, 3, 1).flip(3).cpu().numpy()
        return drawn

    def _tensor(self, images: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(blue_first(images)).to(self._device)

    def _noise(self, positions: Sequence[int]) -> list[Tensor] | None:
        if not self._noisy:
            return None
        generators = [noise_generator(self._seed, position) for position in positions]
        return [
            torch.cat([torch.randn(1, 1, size, size, generator=each) for each in generators]).to(self._device)
            for size in NOISE_SIZES
        ]
