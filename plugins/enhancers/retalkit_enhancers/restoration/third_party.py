"""Restorer for third-party networks, which seeds the random number generators for reproducible results."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, noise_generator
from retalkit.stages import Runtime
from torch import Tensor

from retalkit_enhancers.restoration.face_tensors import to_images, to_tensor


class ThirdPartyRestorer:
    """Restorer that processes one face at a time with a third-party network.

    The random number generators are seeded for each frame.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], runtime: Runtime) -> None:
        """Create the restorer.

        ``network``: maps a face [1, 3, 512, 512], RGB in [-1, 1], on ``runtime``'s device to the restored face.
        """
        self._network = network
        self._device, self._precision = runtime.device, runtime.precision

    def restore(self, faces: NDArray[np.uint8], indexes: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
        """Return the restored faces (see ``Restorer``)."""
        restored = np.empty(faces.shape, np.float32)
        with computing(self._device, self._precision):
            for row, index in enumerate(indexes.tolist()):
                face = to_tensor(faces[row : row + 1]).to(self._device)
                with _seeded(seed, index, self._device):
                    restored[row] = to_images(self._network(face))[0]
        return restored


_RANDOM = Lock()
"""Lock for torch's global generators, which all threads of the process share."""


@contextmanager
def _seeded(seed: int, index: int, device: str) -> Generator[None]:
    """Seed torch's global generators inside the block, and restore their states afterwards.

    The seed is derived from ``seed`` and the frame index ``index``.
    """
    target = torch.device(device)
    devices = [target.index or 0] if target.type == "cuda" else []
    with _RANDOM, torch.random.fork_rng(devices=devices):
        torch.manual_seed(noise_generator(seed, index).initial_seed())
        yield
