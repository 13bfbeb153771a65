"""The two-dimensional Fourier transform of small pictures as products with matrices.

The channels lie last, so that nothing has to be moved in memory: a transform along one axis is one product, and its
result is what mixing the channels of each frequency takes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class SpectrumMatrices(nn.Module):
    """The real transform of pictures of ``side`` x ``side`` pixels and its inverse, both orthonormal.

    Frequencies run over the whole of the vertical and the half of the horizontal axis, as ``torch.fft.rfft2`` has them.
    """

    down: Tensor
    across: Tensor
    back_across: Tensor
    back_down: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side: Final = side
        self.columns: Final = side // 2 + 1
        """Horizontal frequencies."""
        steps = np.arange(side)
        angles = 2 * np.pi * np.outer(steps, steps) / side  # frequency, place
        cosine, sine = np.cos(angles) / np.sqrt(side), np.sin(angles) / np.sqrt(side)
        # Frequency and part (real, imaginary) by place.
        self._keep("down", np.stack([cosine, -sine], 1).reshape(2 * side, side))
        real, imaginary = cosine[: self.columns], sine[: self.columns]
        # Frequency and part by part and place.
        rows = [np.concatenate([real, imaginary], 1), np.concatenate([-imaginary, real], 1)]
        self._keep("across", np.stack(rows, 1).reshape(2 * self.columns, 2 * side))
        # The horizontal frequencies that were left out mirror those that were kept; the ends have no mirror.
        weight = np.full((self.columns, 1), 2.0)
        weight[[0, -1]] = 1
        real, imaginary = real * weight, imaginary * weight
        rows = [np.concatenate([real, imaginary], 1), np.concatenate([-imaginary, real], 1)]
        self._keep("back_across", np.stack(rows, 1).reshape(2 * self.columns, 2 * side).T)
        self._keep("back_down", np.stack([cosine, -sine], 1).reshape(2 * side, side).T)

    def _keep(self, name: str, matrix: NDArray[np.float64]) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(matrix, np.float32)))

    def to_frequencies(self, pixels: Tensor) -> Tensor:
        """[B, side * side, C] -> [B * side, columns, 2 C]: vertical and horizontal frequency, real parts, then
        imaginary ones."""
        batch, _, channels = pixels.shape
        side = self.side
        columns = torch.matmul(self.down, pixels.reshape(batch, side, side * channels))
        rows = torch.matmul(self.across, columns.view(batch * side, 2 * side, channels))
        return rows.view(batch * side, self.columns, 2 * channels)

    def to_pixels(self, frequencies: Tensor, batch: int) -> Tensor:
        """The inverse: [B * side, columns, 2 C] -> [B, side * side, C]."""
        side, channels = self.side, frequencies.shape[-1] // 2
        rows = torch.matmul(self.back_across, frequencies.reshape(batch * side, 2 * self.columns, channels))
        pixels = torch.matmul(self.back_down, rows.view(batch, 2 * side, side * channels))
        return pixels.view(batch, side * side, channels)
