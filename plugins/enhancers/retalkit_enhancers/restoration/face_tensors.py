"""Conversion between face images and the tensors of the restoration networks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_tensor(faces: NDArray[np.uint8]) -> Tensor:
    """Return tensors, float32 [B, 3, h, w] in [-1, 1], for RGB images, uint8 [B, h, w, 3]."""
    pixels = torch.from_numpy(np.ascontiguousarray(faces.transpose(0, 3, 1, 2)))
    return (pixels.float() / 255 - 0.5) / 0.5


def to_images(values: Tensor) -> NDArray[np.float32]:
    """Return images, float32 [B, h, w, 3] clipped to [0, 1], for tensors [B, 3, h, w].

    The nominal range of the tensors is [-1, 1].
    """
    return (values.float() * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
