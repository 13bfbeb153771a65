"""Layer normalisation of images, as D-Net and L-Net use it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class LayerNorm2d(nn.Module):
    """Normalise each image over channels and pixels together, then scale and shift each channel.

    ``weight`` and ``bias`` have shape [C, 1, 1], as in the published checkpoints.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised features; ``x`` is [B, C, H, W]."""
        # Contiguous memory: with channels last, torch sums in an order that loses several digits.
        return functional.layer_norm(x.contiguous(), x.shape[1:]) * self.weight + self.bias
