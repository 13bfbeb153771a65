"""ParseNet ready to parse: loaded and on its device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, load_weights

from retalkit_enhancers.parsing.network import ParseNet, empty_network
from retalkit_enhancers.parsing.quick import QuickParseNet


class FaceParser:
    """A loaded network; it keeps nothing of what it saw."""

    def __init__(self, weights: Path, device: str = "cpu", precision: str = "float32") -> None:
        """``weights``: safetensors file. Raises WeightsError where it does not fit."""
        self._device, self._precision = device, precision
        network = load_weights(empty_network(), weights, device)
        quick = device == "cpu" and precision == "float32"
        self._network: ParseNet | QuickParseNet = QuickParseNet(network) if quick else network

    def classes(self, face: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB uint8 [512, 512, 3], aligned -> uint8 [512, 512]: the class of each pixel, 0 to 18 (see ``masks``)."""
        with computing(self._device, self._precision):
            image = torch.from_numpy(np.ascontiguousarray(face.transpose(2, 0, 1))).to(self._device)
            scores = self._network((image[None].float() / 127.5) - 1)
            return scores[0].argmax(0).to(torch.uint8).cpu().numpy()
