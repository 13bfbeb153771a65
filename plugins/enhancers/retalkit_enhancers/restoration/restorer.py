"""Protocol ``Restorer`` for restoration networks, and the restorer for Retalkit's own networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from retalkit.inference import CompiledNetwork, frame_noise, full_batches

from retalkit_enhancers.restoration.face_tensors import to_images, to_tensor

SIZE: Final = 512
"""Width and height of the aligned faces in pixels."""


class Restorer(Protocol):
    """Restorer of aligned faces. A restorer contains a loaded network and no clip state.

    The result for a face must not depend on the other faces in the batch.
    """

    def restore(self, faces: NDArray[np.uint8], indexes: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
        """Return the restored faces, float32 [B, 512, 512, 3], RGB in [0, 1].

        ``faces``: RGB uint8 [B, 512, 512, 3], aligned to the template. ``indexes``: position of each face in the
        output, or in the source for reference images, int64 [B]. ``indexes`` and ``seed`` determine each face's noise.
        The caller clips values outside [0, 1].
        """
        ...


class NetworkRestorer:
    """Restorer that runs a compiled network."""

    def __init__(self, network: CompiledNetwork, device: str, batch: int = 1, noise_sizes: Sequence[int] = ()) -> None:
        """Create the restorer.

        ``network``: maps faces [B, 3, 512, 512], RGB in [-1, 1], and noise [B, 1, n, n] for each n in ``noise_sizes``
        to restored faces. ``batch``: maximum number of faces per network call on a GPU.
        """
        self._network, self._device, self._batch = network, device, batch
        self._noise_sizes = noise_sizes

    def restore(self, faces: NDArray[np.uint8], indexes: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
        """Return the restored faces (see ``Restorer``)."""
        restored = np.empty(faces.shape, np.float32)
        for rows, wanted in full_batches(len(faces), self._batch, self._device):
            noise = frame_noise(seed, indexes[rows].tolist(), self._noise_sizes)
            images = to_images(self._network(to_tensor(faces[rows]), *noise)[0])
            restored[rows[:wanted]] = images[:wanted]
        return restored
