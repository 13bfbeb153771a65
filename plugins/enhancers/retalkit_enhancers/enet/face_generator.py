"""Face generation with E-Net, and emotion editing of the face's upper half with GANimation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import (
    CompiledNetwork,
    compile_network,
    empty_network,
    frame_noise,
    full_batches,
    load_weights,
)
from retalkit.stages import Runtime
from torch import Tensor, nn

from retalkit_enhancers.enet.face_region import to_bgr_planes
from retalkit_enhancers.enet.identity_codes import IdentityCodes
from retalkit_enhancers.enet.interface import NETWORK, EnetConfig
from retalkit_enhancers.enet.network import LOW_SIZE, NOISE_SIZES, SIZE, ENet
from retalkit_enhancers.ganimation.emotional_face import EmotionalFace
from retalkit_enhancers.stylegan2 import CODE_SIZE

_HALF = SIZE // 2


class _Encoder(nn.Module):
    def __init__(self, network: ENet) -> None:
        super().__init__()
        self.network = network

    def forward(self, reference: Tensor) -> Tensor:
        return self.network.encode(reference)


class _Decoder(nn.Module):
    def __init__(self, network: ENet) -> None:
        super().__init__()
        self.network = network

    def forward(self, low: Tensor, code: Tensor, *noise: Tensor) -> Tensor:
        return self.network.decode(low, code, noise or None)


@dataclass(frozen=True, slots=True)
class EnetNetworks:
    """E-Net's encoder and decoder, compiled for inference."""

    encoder: CompiledNetwork
    """Encoder that maps a reference face [1, 3, 384, 384], BGR in [0, 1], to an identity code [1, 512]."""
    decoder: CompiledNetwork
    """Decoder that maps low-resolution faces [B, 3, 96, 96], codes [B, 512] and noise to faces [B, 3, 384, 384]."""
    noise_sizes: tuple[int, ...]
    """Sizes of the decoder's noise inputs. The tuple is empty if all noise strengths are zero."""


def load_networks(runtime: Runtime) -> EnetNetworks:
    """Load the networks for ``runtime``. Raises WeightsError if the checkpoint does not match the network."""
    weights = runtime.weights[NETWORK]

    def load() -> EnetNetworks:
        network = load_weights(empty_network(ENet), weights)
        sizes = NOISE_SIZES if network.is_noisy else ()
        noise = [torch.zeros(1, 1, size, size) for size in sizes]
        low, code = torch.zeros(1, 3, LOW_SIZE, LOW_SIZE), torch.zeros(1, CODE_SIZE)
        return EnetNetworks(
            encoder=compile_network(_Encoder(network), [torch.zeros(1, 3, SIZE, SIZE)], runtime),
            decoder=compile_network(_Decoder(network), [low, code, *noise], runtime),
            noise_sizes=sizes,
        )

    return runtime.shared((NETWORK, weights), load)


class FaceGenerator:
    """Face generator for one clip."""

    def __init__(
        self, config: EnetConfig, networks: EnetNetworks, emotion: EmotionalFace | None, device: str, seed: int = 0
    ) -> None:
        """Create the generator.

        ``emotion``: emotion applied to the upper half of each face, or None for no change.
        """
        self._keep_upper, self._batch = config.keep_upper, config.batch
        self._networks, self._emotion = networks, emotion
        self._device, self._seed = device, seed
        self._codes = IdentityCodes(networks.encoder)

    def __call__(
        self,
        low: NDArray[np.float32],
        reference: NDArray[np.uint8],
        key: bytes,
        originals: NDArray[np.uint8],
        positions: Sequence[int],
    ) -> NDArray[np.float32]:
        """Return the generated faces for one reference, float32 [T, 384, 384, 3], RGB in [0, 1].

        ``low``: low-resolution faces, float32 [T, 96, 96, 3], RGB in [0, 1]. ``reference``: reference face, RGB uint8
        [384, 384, 3]. ``key``: hash of ``reference``. ``originals``: faces from the source frames, RGB uint8 [T, 384,
        384, 3]. ``positions``: positions of the frames in the output, from which the noise seed of each frame is
        derived.
        """
        generated = np.empty((len(low), SIZE, SIZE, 3), np.float32)
        code = self._codes.get(reference, key)
        for rows, wanted in full_batches(len(low), self._batch, self._device):
            noise = frame_noise(self._seed, [positions[row] for row in rows], self._networks.noise_sizes)
            inputs = torch.from_numpy(to_bgr_planes(low[rows])), code.expand(len(rows), -1)
            faces = self._networks.decoder(*inputs, *noise)[0].clamp(0, 1)
            if self._emotion is not None or self._keep_upper:
                upper = torch.from_numpy(to_bgr_planes(originals[rows])).float() / 255
                if self._emotion is not None:
                    upper = self._emotion(upper).clamp(0, 1)
                faces[:, :, :_HALF] = upper[:, :, :_HALF]
            generated[rows[:wanted]] = faces[:wanted].permute(0, 2, 3, 1).flip(3).numpy()
        return generated
