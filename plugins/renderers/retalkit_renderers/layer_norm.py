"""Layer normalisation of images for D-Net and L-Net."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class LayerNorm2d(nn.Module):
    """Layer normalisation over channels and pixels, followed by a scale and a shift per channel.

    ``weight`` and ``bias`` have the shape [C, 1, 1], as in the published checkpoints.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised features. ``x`` has the shape [B, C, H, W]."""
        # The tensor must be contiguous. In channels-last memory, torch uses a summation order that loses several
        # digits.
        return functional.layer_norm(x.contiguous(), x.shape[1:]) * self.weight + self.bias
