"""Convert images of faces to the tensors of the restoration networks and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_tensor(faces: NDArray[np.uint8]) -> Tensor:
    """Return float32 [B, 3, h, w] in [-1, 1] for RGB uint8 [B, h, w, 3]."""
    pixels = torch.from_numpy(np.ascontiguousarray(faces.transpose(0, 3, 1, 2)))
    return (pixels.float() / 255 - 0.5) / 0.5


def to_images(values: Tensor) -> NDArray[np.float32]:
    """Return float32 [B, h, w, 3], clipped to [0, 1], for [B, 3, h, w] around [-1, 1]."""
    return (values.float() * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
