"""PyTorch version of the speech encoder, for training. The package runs an equivalent encoder in NumPy.

See ``retalkit_renderers.speech_to_mouth.moonshine`` for the source and the licence.
"""

from __future__ import annotations

from pathlib import Path

import torch
from retalkit_renderers.speech_to_mouth.moonshine import EPSILON, HEADS, STRIDES, rotations
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 288
"""Number of channels of the outputs."""
_HIDDEN = 1152


class Attention(nn.Module):
    """Self-attention with rotary position embeddings."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            self.add_module(name, nn.Linear(CHANNELS, CHANNELS, bias=False))

    def forward(self, rows: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Return the output [B, T, C] for ``rows`` [B, T, C]."""
        queries, keys, values = (
            self.get_submodule(name)(rows).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        attended = functional.scaled_dot_product_attention(
            _rotate(queries, *rotation), _rotate(keys, *rotation), values
        )
        return self.get_submodule("o_proj")(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(CHANNELS, _HIDDEN)
        self.fc2 = nn.Linear(_HIDDEN, CHANNELS)

    def forward(self, rows: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(rows)))


class Layer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(CHANNELS, EPSILON, bias=False)
        self.self_attn = Attention()
        self.post_attention_layernorm = nn.LayerNorm(CHANNELS, EPSILON, bias=False)
        self.mlp = FeedForward()

    def forward(self, rows: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        rows = rows + self.self_attn(self.input_layernorm(rows), rotation)
        return rows + self.mlp(self.post_attention_layernorm(rows))


class MoonshineEncoder(nn.Module):
    """First layers of the encoder, with the published parameter names."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, CHANNELS, 127, STRIDES[0], bias=False)
        self.groupnorm = nn.GroupNorm(1, CHANNELS, EPSILON)
        self.conv2 = nn.Conv1d(CHANNELS, 2 * CHANNELS, 7, STRIDES[1])
        self.conv3 = nn.Conv1d(2 * CHANNELS, CHANNELS, 3, STRIDES[2])
        self.layers = nn.ModuleList(Layer() for _ in range(layers))

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the outputs [B, T, 288] for audio in [-1, 1] at 16 kHz, [B, N]; see ``moonshine.Encoder``."""
        rows = self.groupnorm(torch.tanh(self.conv1(waveform[:, None])))
        rows = functional.gelu(self.conv3(functional.gelu(self.conv2(rows)))).transpose(1, 2)
        cosine, sine = (torch.from_numpy(each).to(rows) for each in rotations(rows.shape[1], CHANNELS // HEADS))
        for layer in self.layers:
            rows = layer(rows, (cosine, sine))
        return rows


def load_moonshine(path: Path) -> MoonshineEncoder:
    """Return the encoder with the parameters of the safetensors file ``path``, in evaluation mode."""
    tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    layers = sum(name.endswith(".mlp.fc1.weight") for name in tensors)
    encoder = MoonshineEncoder(layers)
    encoder.load_state_dict(tensors)
    return encoder.eval()


def _rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    rotated = 2 * cosine.shape[1]
    even, odd = heads[..., 0:rotated:2], heads[..., 1:rotated:2]
    pairs = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1).flatten(-2)
    return torch.cat([pairs, heads[..., rotated:]], dim=-1)
