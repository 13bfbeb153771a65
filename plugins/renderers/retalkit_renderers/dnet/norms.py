"""Normalisation of features, as a factor and an offset for each channel.

Sums are taken so that they keep their digits. torch's own group and batch normalisation add up thousands of squares one
after the other where the channels of a pixel lie side by side, and lose four digits by it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAK = 0.1
"""Slope of every leaky rectifier for negative numbers."""
EPSILON = 1e-5
"""Added to a variance before its root is taken."""
CHUNK = 1 << 16
"""Numbers that are squared at a time: they stay in the processor's cache."""


def rectified(x: Tensor) -> Tensor:
    """Leaky rectifier, in place."""
    return functional.leaky_relu_(x, LEAK)


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation of each channel of each picture: ``x`` [B, C, H, W] -> [B, C, 1, 1] twice."""
    rows = x.permute(0, 2, 3, 1)
    mean = rows.mean((1, 2), keepdim=True, dtype=torch.float32)
    many = max(1, CHUNK // max(1, rows[0, 0].numel())) if x.device.type == "cpu" else len(rows[0])
    # Sums of sums: no number is added to one that is thousands of times as large.
    sums = [(part - mean).square_().sum((1, 2)) for part in rows.split(many, dim=1)]
    variance = torch.stack(sums, -1).sum(-1) / (x.shape[2] * x.shape[3])
    return mean.permute(0, 3, 1, 2), torch.rsqrt(variance + EPSILON)[..., None, None]


def whole_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation of each picture with all its channels: [B, 1, 1, 1] twice."""
    mean = x.mean((1, 2, 3), dtype=torch.float32)
    lengths = torch.linalg.vector_norm(x, dim=1, dtype=torch.float32)
    squares = _exact(lengths.square().mean((1, 2))) / x.shape[1]
    variance = (squares - _exact(mean).square()).clamp_min(0)
    return mean[:, None, None, None], torch.rsqrt(variance + EPSILON).float()[:, None, None, None]


def _exact(x: Tensor) -> Tensor:
    """In double precision, where the device has it."""
    return x if x.device.type == "mps" else x.double()


class WholeNorm(nn.Module):
    """Layer normalisation over channels and pixels together, with a factor and an offset for each channel; in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean, scale = whole_moments(x)
        factor = self.weight * scale
        return torch.addcmul(self.bias - mean * factor, x, factor, out=x)


class AdaptiveNorm(nn.Module):
    """Instance normalisation whose factor and offset for each channel come from the descriptor (AdaIN: Huang and
    Belongie, "Arbitrary style transfer in real-time with adaptive instance normalization", ICCV 2017); in place."""

    def __init__(self, channels: int, descriptor: int, hidden: int = 128) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Linear(descriptor, hidden), nn.ReLU())
        self.mlp_gamma = nn.Linear(hidden, channels)
        self.mlp_beta = nn.Linear(hidden, channels)

    def forward(
        self, x: Tensor, descriptor: Tensor, moments: tuple[Tensor, Tensor] | None = None, keep: bool = False
    ) -> Tensor:
        """``x`` [B, C, H, W], ``descriptor`` [B, D]; ``moments``: those of ``x`` where they are known; ``keep``: leave
        ``x`` as it is."""
        mean, scale = channel_moments(x) if moments is None else moments
        hidden = self.mlp_shared(descriptor)
        factor = (1 + self.mlp_gamma(hidden))[..., None, None] * scale
        offset = self.mlp_beta(hidden)[..., None, None] - mean * factor
        return torch.addcmul(offset, x, factor, out=None if keep else x)
