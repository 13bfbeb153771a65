"""Adaptive instance normalisation, conditioned on the expression descriptor."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class AdaptiveInstanceNorm(nn.Module):
    """Instance normalisation whose scale and shift are predicted from the descriptor.

    Reference for AdaIN: Huang and Belongie, "Arbitrary style transfer in real-time with adaptive instance
    normalization", ICCV 2017.
    """

    def __init__(self, channels: int, descriptor: int, hidden: int = 128) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Linear(descriptor, hidden), nn.ReLU())
        self.mlp_gamma = nn.Linear(hidden, channels)
        self.mlp_beta = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        """Return the normalised features. ``x`` has the shape [B, C, H, W], and ``descriptor`` has the shape [B, D]."""
        hidden = self.mlp_shared(descriptor)
        scale = 1 + self.mlp_gamma(hidden)[..., None, None]
        # The tensor must be contiguous. In channels-last memory, torch uses a summation order that loses several
        # digits.
        return functional.instance_norm(x.contiguous()) * scale + self.mlp_beta(hidden)[..., None, None]
