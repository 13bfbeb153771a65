"""PyTorch version of the network for training. The package runs an equivalent network in NumPy.

The network is a temporal convolutional network (Bai, Kolter and Koltun 2018) of residual blocks with pre-activation (He
et al. 2016). A block consists of batch normalisation, ReLU, dilated convolution, ReLU, dropout and 1x1 convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.speech_to_mouth.visemes import CLASSES

INPUTS = 160
OUTPUTS = 4 + 1 + len(CLASSES)
"""Number of outputs: opening, width, protrusion, jaw, speech logit, and viseme class logits."""
DILATIONS = (1, 2, 4, 8, 1, 2)
_TAPS = 5
_ROW_SECONDS = 0.02
_STEM_AHEAD_SECONDS = 0.0375


class Block(nn.Module):
    """Residual block with a look-ahead of ``after`` steps of 0.02 s. The rest of its receptive field is in the past."""

    def __init__(self, channels: int, dilation: int, after: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.conv = nn.Conv1d(channels, channels, _TAPS, dilation=dilation)
        self.point = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.padding = (dilation * (_TAPS - 1) - after, after)

    def forward(self, rows: Tensor) -> Tensor:
        padded = nn.functional.pad(torch.relu(self.norm(rows)), self.padding)
        return rows + self.point(self.dropout(torch.relu(self.conv(padded))))


class SpeechToMouthNetwork(nn.Module):
    """Maps features [B, 160, T] at 100 Hz to outputs [B, 20, T // 2] at 50 Hz.

    Output j is at the time (2 j + 1) / 100 s. ``lookahead_seconds``: maximum look-ahead, at least 0.0375 (the
    look-ahead of the stem), or None for no limit. No output depends on audio beyond the look-ahead.
    """

    def __init__(
        self,
        channels: int = 160,
        dilations: tuple[int, ...] = DILATIONS,
        lookahead_seconds: float | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.dilations = dilations
        self.lookahead_seconds = lookahead_seconds
        self.after = rows_after(dilations, lookahead_seconds)
        self.stem = nn.Conv1d(INPUTS, channels, 6, stride=2, padding=2)
        self.blocks = nn.ModuleList(
            Block(channels, dilation, after, dropout) for dilation, after in zip(dilations, self.after, strict=True)
        )
        self.norm = nn.BatchNorm1d(channels)
        self.head = nn.Conv1d(channels, OUTPUTS, 1)

    def hidden(self, features: Tensor) -> Tensor:
        """Return the last hidden layer [B, C, T // 2], at least 0."""
        rows = self.stem(features)
        for block in self.blocks:
            rows = block(rows)
        return torch.relu(self.norm(rows))

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.hidden(features))


def rows_after(dilations: tuple[int, ...], lookahead_seconds: float | None) -> tuple[int, ...]:
    """Return the look-ahead of each block in steps.

    A block's look-ahead is half of its receptive field, limited by the allowed look-ahead.
    """
    halves = tuple(dilation * (_TAPS - 1) // 2 for dilation in dilations)
    if lookahead_seconds is None:
        return halves
    if lookahead_seconds < _STEM_AHEAD_SECONDS:
        raise ValueError(
            f"look-ahead must be at least {_STEM_AHEAD_SECONDS} s, that of the first layer; got {lookahead_seconds} s"
        )
    remaining = int((lookahead_seconds - _STEM_AHEAD_SECONDS) / _ROW_SECONDS + 1e-9)
    result: list[int] = []
    for half in halves:
        result.append(min(half, remaining))
        remaining -= result[-1]
    return tuple(result)
