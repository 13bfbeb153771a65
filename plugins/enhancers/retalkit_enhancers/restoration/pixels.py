"""From pixels to the numbers of the restoration networks and back, as both were published with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_network(faces: NDArray[np.uint8], device: str) -> Tensor:
    """float32 [B, 3, h, w] in [-1, 1] of RGB uint8 [B, h, w, 3]."""
    pixels = torch.from_numpy(np.ascontiguousarray(faces)).to(device)
    return (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def from_network(values: Tensor) -> NDArray[np.float32]:
    """float32 [B, h, w, 3], cut to [0, 1], of [B, 3, h, w] around [-1, 1]."""
    return (values.float() * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
