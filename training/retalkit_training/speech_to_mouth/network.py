"""PyTorch version of the network for training. The package runs an equivalent network in NumPy.

The network is a temporal convolutional network (Bai, Kolter and Koltun 2018) of residual blocks with pre-activation (He
et al. 2016). A block consists of batch normalisation, ReLU, dilated convolution, ReLU, dropout and 1x1 convolution.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit_renderers.speech_to_mouth.features import INPUT_CONTEXT, network_input
from retalkit_renderers.speech_to_mouth.network import MAX_DEVIATIONS
from retalkit_renderers.speech_to_mouth.visemes import CLASSES
from retalkit_training.speech_to_mouth.moonshine_encoder import CHANNELS
from retalkit_training.tasks.speech_to_mouth_config import DILATIONS, Features
from torch import Tensor, nn

INPUTS = 160
"""Number of log-mel features."""
OUTPUTS = 4 + 1 + len(CLASSES)
"""Number of outputs: opening, width, protrusion, jaw, speech logit, and viseme class logits."""
CONTACT = OUTPUTS
"""Index of the lip contact logit. Only networks that were trained on real lips have this output."""
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
        """Return the output of the block, [B, J, C], for an input of equal shape."""
        active = torch.relu(self.norm(rows.flatten(0, 1)).view_as(rows))
        padded = nn.functional.pad(active, (0, 0, *self.padding))
        mixed = self.dropout(torch.relu(convolve(padded, self.conv)))
        return rows + nn.functional.linear(mixed, self.point.weight[:, :, 0], self.point.bias)


def convolve(rows: Tensor, layer: nn.Conv1d) -> Tensor:
    """Return the output of the convolution ``layer`` without padding for ``rows`` [B, J, C].

    The convolution is computed as one matrix multiplication. On CPUs with bfloat16 support, this is much faster than
    PyTorch's convolution.
    """
    dilation, stride, taps = layer.dilation[0], layer.stride[0], layer.kernel_size[0]
    count = (rows.shape[1] - dilation * (taps - 1) - 1) // stride + 1
    last = stride * (count - 1) + 1
    columns = torch.cat([rows[:, tap * dilation : tap * dilation + last : stride] for tap in range(taps)], dim=2)
    return nn.functional.linear(columns, layer.weight.transpose(1, 2).flatten(1), layer.bias)


class SpeechToMouthNetwork(nn.Module):
    """Maps log-mel features [B, 160, T] at 100 Hz to outputs [B, 20, T // 2] at 50 Hz, or encoder features [B, 288, T]
    at 50 Hz to outputs [B, 20, T].

    Output j is at the time (2 j + 1) / 100 s. ``lookahead_seconds``: maximum look-ahead, at least 0.0375 (the
    look-ahead of the stem), or None for no limit. No output depends on audio beyond the look-ahead.
    """

    def __init__(
        self,
        channels: int = 160,
        dilations: tuple[int, ...] = DILATIONS,
        lookahead_seconds: float | None = None,
        dropout: float = 0.1,
        contact: bool = False,
        features: Features = "log_mel",
        feature_noise: float = 0.0,
        feature_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.kind: Features = features
        self.channels = channels
        self.dilations = dilations
        self.lookahead_seconds = lookahead_seconds
        self.after = rows_after(dilations, lookahead_seconds)
        if features == "encoder":
            self.features = Normalisation(CHANNELS, feature_noise, feature_dropout)
            self.stem = nn.Conv1d(CHANNELS, channels, 1)
        else:
            self.stem = nn.Conv1d(INPUTS, channels, 6, stride=2, padding=2)
        self.blocks = nn.ModuleList(
            Block(channels, dilation, after, dropout) for dilation, after in zip(dilations, self.after, strict=True)
        )
        self.norm = nn.BatchNorm1d(channels)
        self.head = nn.Conv1d(channels, OUTPUTS + contact, 1)

    def hidden(self, features: Tensor) -> Tensor:
        """Return the non-negative activations of the last hidden layer [B, C, T // 2]."""
        return self._hidden(features).transpose(1, 2)

    def forward(self, features: Tensor) -> Tensor:
        rows = nn.functional.linear(self._hidden(features), self.head.weight[:, :, 0], self.head.bias)
        return rows.transpose(1, 2)

    def _hidden(self, features: Tensor) -> Tensor:
        rows = features.transpose(1, 2)
        rows = self.features(rows) if self.kind == "encoder" else nn.functional.pad(rows, (0, 0, 2, 2))
        rows = convolve(rows, self.stem)
        for block in self.blocks:
            rows = block(rows)
        return torch.relu(self.norm(rows.flatten(0, 1)).view_as(rows))


class Normalisation(nn.Module):
    """Normalisation of encoder features to zero mean and unit variance, with noise and dropout in training."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, noise: float, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.noise = noise
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the normalised features for ``rows`` [B, T, C]."""
        normalised = ((rows - self.mean) / self.deviation).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        if not self.training:
            return normalised
        return self.dropout(normalised + self.noise * torch.randn_like(normalised))


def feature_lookahead(lookahead_seconds: float | None) -> int:
    """Return the look-ahead of the running mean of a network's features in frames of 0.01 s."""
    return INPUT_CONTEXT if lookahead_seconds is None else 0


def outputs_of(network: SpeechToMouthNetwork, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the raw outputs of a network, float32 [O, J], for log-mel levels [2 J, 80] or encoder rows [J, 288]."""
    ahead = feature_lookahead(network.lookahead_seconds)
    features = (rows if network.kind == "encoder" else network_input(rows, ahead)).T
    inputs = torch.from_numpy(np.ascontiguousarray(features))[None].to(network.head.weight.device)
    with torch.inference_mode():
        return network(inputs)[0].cpu().numpy()


def check_features(features: Tensor) -> None:
    """Check the features of the first batch.

    Raises:
        InputError: all features are constant, because all audio is silent.
    """
    if float(features.flatten(0, -3).std(-1).max()) < 1e-3:
        raise InputError("first batch: all audio is silent, so that the network cannot learn", code="silent-dataset")


def rows_after(dilations: tuple[int, ...], lookahead_seconds: float | None) -> tuple[int, ...]:
    """Return the look-ahead of each block in steps.

    A block's look-ahead is half of its receptive field, limited by the allowed look-ahead.
    """
    halves = tuple(dilation * (_TAPS - 1) // 2 for dilation in dilations)
    if lookahead_seconds is None:
        return halves
    if lookahead_seconds < _STEM_AHEAD_SECONDS:
        raise ValueError(
            f"lookahead_seconds: expected at least {_STEM_AHEAD_SECONDS}, the look-ahead of the first layer, "
            f"got {lookahead_seconds}"
        )
    remaining = int((lookahead_seconds - _STEM_AHEAD_SECONDS) / _ROW_SECONDS + 1e-9)
    result: list[int] = []
    for half in halves:
        result.append(min(half, remaining))
        remaining -= result[-1]
    return tuple(result)
