"""Cross attention from the masked face to the reference face, with the published parameter names.

Reference: Vaswani et al., "Attention is all you need", NeurIPS 2017. Queries and keys are computed from the masked
face, and values are computed from the reference face.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention that maps two inputs [B, N, dimension] to [B, N, dimension]."""

    def __init__(self, dimension: int, heads: int, head_dimension: int) -> None:
        super().__init__()
        inner = heads * head_dimension
        self.heads = heads
        self.to_q = nn.Linear(dimension, inner, bias=False)
        self.to_k = nn.Linear(dimension, inner, bias=False)
        self.to_v = nn.Linear(dimension, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, dimension))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.to_q(x), self.to_k(x), self.to_v(y))
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        return self.to_out(attended.transpose(1, 2).flatten(2))


class NormedAttention(nn.Module):
    """Attention over layer-normalised features."""

    def __init__(self, dimension: int, heads: int, head_dimension: int) -> None:
        super().__init__()
        self.normx = nn.LayerNorm(dimension)
        self.normy = nn.LayerNorm(dimension)
        self.fn = Attention(dimension, heads, head_dimension)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.fn(self.normx(x), self.normy(y))


class FeedForward(nn.Module):
    """Two linear layers. Entries 2 and 4 of the published sequence are dropout layers with a probability of 0."""

    def __init__(self, dimension: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dimension, hidden), nn.GELU(approximate="tanh"), nn.Identity(), nn.Linear(hidden, dimension)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class NormedFeedForward(nn.Module):
    """Feed-forward layers over layer-normalised features."""

    def __init__(self, dimension: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dimension)
        self.fn = FeedForward(dimension, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class CrossAttention(nn.Module):
    """Cross attention that maps the image features of the masked face and the reference face, [B, C, H, W] each, to [B,
    C, H, W].
    """

    def __init__(self, dimension: int, depth: int, heads: int, head_dimension: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([NormedAttention(dimension, heads, head_dimension), NormedFeedForward(dimension, hidden)])
            for _ in range(depth)
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        height, width = x.shape[2:]
        masked, reference = (part.flatten(2).transpose(1, 2) for part in (x, y))  # [B, H * W, C]
        for layer in self.layers:
            attention, forward = layer.children()
            masked = masked + attention(masked, reference)
            masked = masked + forward(masked)
        return masked.transpose(1, 2).unflatten(2, (height, width))


class NoAttention(nn.Module):
    """Pass-through layer used instead of attention at resolutions where attention is too expensive.

    The layer returns the masked face features unchanged.
    """

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x
