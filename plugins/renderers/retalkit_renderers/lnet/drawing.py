"""L-Net ready to draw faces: loaded, folded, on its device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, full_batches, load_weights

from retalkit_renderers.lnet.folding import fold
from retalkit_renderers.lnet.network import LNet

Float = NDArray[np.float32]


class FaceDrawing:
    """A loaded network."""

    def __init__(self, weights: Path, device: str, precision: str, batch: int) -> None:
        """Raises WeightsError where the file does not fit. ``batch``: faces drawn together, where that is faster."""
        self._device = device
        self._precision = precision
        self._batch = batch
        # There its weights lie ready for one face after the other.
        processor = torch.device(device).type == "cpu" and precision == "float32"
        self._network = fold(load_weights(empty_network(), weights, device), processor=processor)

    def __call__(self, mel: Float, faces: Float) -> Float:
        """float32 [T, 96, 96, 3], RGB in [0, 1].

        ``mel``: float32 [T, 80, 16] in [-4, 4]. ``faces``: float32 [T, 6, 96, 96] in [0, 1], blue first: masked face,
        then reference. On a processor a face has the same bits whichever are asked with it; elsewhere its place in
        a batch may change the last digits.
        """
        drawn = np.empty((len(faces), *faces.shape[2:], 3), np.float32)
        with computing(self._device, self._precision):
            for rows, wanted in full_batches(len(faces), self._batch, self._device):
                heard, seen = torch.from_numpy(mel[rows, None]), torch.from_numpy(faces[rows])
                blue_first = self._network(heard.to(self._device), seen.to(self._device)).float()[:wanted]
                drawn[rows[:wanted]] = blue_first.flip(1).permute(0, 2, 3, 1).clamp(0, 1).cpu().numpy()
        return drawn


def empty_network() -> LNet:
    """Without numbers: to draw random ones for 127 million parameters takes longer than to read them."""
    with torch.device("meta"):
        network = LNet()
    return network.to_empty(device="cpu")
