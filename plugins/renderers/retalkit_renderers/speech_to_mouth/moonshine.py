"""NumPy inference for the first layers of the speech encoder of Moonshine tiny-en.

Moonshine (Jeffries et al., "Moonshine: Speech Recognition for Live Transcription and Voice Commands", 2024) is a speech
recognition model by Moonshine AI. The encoder consists of three convolutions on the waveform and of pre-norm
transformer layers with rotary position embeddings (Su et al., "RoFormer", 2021). The weights have the MIT licence; see
the model card in ``weights``.

The first convolution is normalised over the entire input, and the attention spans the entire input. Outputs therefore
depend on the input range: see ``encoder_windows`` for ranges at fixed positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Float = NDArray[np.float32]

HOP: Final = 384
"""Number of samples per output frame."""
BEFORE: Final = 448
"""Number of samples that precede the sample at which the first output frame is centred."""
FIELD: Final = 895
"""Number of samples in the receptive field of the convolutions."""
HEADS: Final = 8
ROTARY_BASE: Final = 10000.0
ROTARY_SHARE: Final = 0.9
"""Fraction of each head's channels that the rotary embedding rotates, rounded down to an even number of channels."""
STRIDES: Final = (64, 3, 2)
"""Strides of the three convolutions."""
EPSILON: Final = 1e-5
_GELU_ROWS: Final = 16
_GELU_LIMIT: Final = np.float32(36.0)
_GELU_POLYNOMIAL: Final = tuple(np.float32(value) for value in (-0.00035151964, 0.037005665, 0.79750786))
_MAX_EXPONENT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Convolution:
    """Convolution as a matrix multiplication."""

    matrix: Float
    """Right-multiplied weights, float32 [K * in, out]."""
    bias: Float
    taps: int
    stride: int

    def __call__(self, rows: Float) -> Float:
        """Return the unpadded convolution, float32 [J, out], of ``rows`` [T, in]."""
        flat = np.ascontiguousarray(rows).reshape(-1)
        channels = rows.shape[1]
        # Each window is a contiguous range of the flat array, so copying the windows is fast.
        windows = sliding_window_view(flat, self.taps * channels)[:: self.stride * channels]
        result = np.ascontiguousarray(windows) @ self.matrix
        result += self.bias
        return result


@dataclass(frozen=True, slots=True)
class Layer:
    """Transformer layer. All matrices are right-multiplied."""

    attention_norm: Float
    query_key_value: Float
    """Float32 [C, 3 C]."""
    output: Float
    feed_forward_norm: Float
    expand: Float
    expand_bias: Float
    reduce: Float
    reduce_bias: Float

    def __call__(self, rows: Float, cosine: Float, sine: Float) -> Float:
        """Return the output [T, C] for ``rows`` [T, C] and the rotation of each position [T, R / 2]."""
        count, channels = rows.shape
        mixed = _layer_norm(rows, self.attention_norm) @ self.query_key_value
        queries, keys, values = mixed.reshape(count, 3, HEADS, channels // HEADS).transpose(1, 2, 0, 3)
        queries, keys = (_rotate(each, cosine, sine) for each in (queries, keys))
        queries *= np.float32((channels // HEADS) ** -0.5)
        attended = np.empty((count, HEADS, channels // HEADS), np.float32)
        # Scores are at most the product of the largest norms. The softmax of small scores needs no maximum.
        squares = [np.einsum("htc,htc->ht", each, each).max(axis=1) for each in (queries, keys)]
        bounds = np.sqrt(squares[0] * squares[1])
        ones = np.ones((count, 1), np.float32)
        for head in range(HEADS):
            scores = queries[head] @ keys[head].T
            if bounds[head] > _MAX_EXPONENT:
                scores -= scores.max(axis=1, keepdims=True)
            np.exp(scores, out=scores)
            attended[:, head] = (scores @ values[head]) / (scores @ ones)
        rows = rows + attended.reshape(count, channels) @ self.output
        hidden = _layer_norm(rows, self.feed_forward_norm) @ self.expand
        return rows + gelu(hidden + self.expand_bias) @ self.reduce + self.reduce_bias


@dataclass(frozen=True, slots=True)
class Encoder:
    """First layers of the encoder."""

    convolutions: tuple[Convolution, Convolution, Convolution]
    group_norm: tuple[Float, Float]
    """Factor and offset per channel."""
    layers: tuple[Layer, ...]

    @property
    def channels(self) -> int:
        return self.layers[0].output.shape[1]

    def __call__(self, waveform: Float) -> Float:
        """Return the output of the last layer, float32 [J, channels].

        ``waveform``: audio in [-1, 1] at 16 kHz, float32 [N]. Frame ``j`` is centred at sample ``BEFORE + HOP * j``. At
        least ``FIELD`` samples are required for the first frame.
        """
        first, second, third = self.convolutions
        rows = np.tanh(first(np.asarray(waveform, np.float32)[:, None]))
        flat = rows.reshape(-1)
        mean = float(flat.mean())
        deviation = np.sqrt(max(float(flat @ flat) / len(flat) - mean * mean, 0.0) + EPSILON)
        factor, offset = self.group_norm
        rows = rows * (factor / deviation).astype(np.float32) + (offset - factor * mean / deviation).astype(np.float32)
        rows = gelu(third(gelu(second(rows))))
        cosine, sine = rotations(len(rows), self.channels // HEADS)
        for layer in self.layers:
            rows = layer(rows, cosine, sine)
        return rows


def rotations(count: int, channels: int) -> tuple[Float, Float]:
    """Return the cosine and the sine of the rotary embedding of each position, float32 [count, R / 2].

    ``channels``: number of channels of a head, of which R are rotated.
    """
    rotated = 2 * int(channels * ROTARY_SHARE / 2)
    frequencies = ROTARY_BASE ** (-np.arange(0, rotated, 2) / rotated)
    angles = np.arange(count)[:, None] * frequencies
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def gelu(values: Float) -> Float:
    """Apply GELU, x times the normal distribution function of x, to ``values`` [T, C] in place, and return them.

    The distribution function is (1 + tanh(x p(x^2))) / 2, where the polynomial p was fitted for a maximum error of the
    result of 3e-5. SciPy's error function would take longer than the matrix multiplications.
    """
    # Blocks fit into the CPU cache.
    for start in range(0, len(values), _GELU_ROWS):
        block = values[start : start + _GELU_ROWS]
        square = np.minimum(block * block, _GELU_LIMIT)
        share = square * _GELU_POLYNOMIAL[0]
        share += _GELU_POLYNOMIAL[1]
        share *= square
        share += _GELU_POLYNOMIAL[2]
        share *= block
        np.tanh(share, out=share)
        share *= np.float32(0.5)
        share += np.float32(0.5)
        block *= share
    return values


def load_encoder(path: Path) -> Encoder:
    """Load a safetensors file with the published parameter names. The tensors may be float16 or float32.

    Raises OSError if the file cannot be read, and ValueError if the file does not contain such an encoder.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            names = list(file.keys())
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in names}
        return make_encoder(tensors)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    except KeyError as error:
        raise ValueError(f"the tensor {error} is missing") from error


def make_encoder(tensors: Mapping[str, Float]) -> Encoder:
    """Return the encoder for arrays with the published names and shapes."""
    layers: list[Layer] = []
    while f"layers.{len(layers)}.mlp.fc1.weight" in tensors:
        prefix = f"layers.{len(layers)}."
        projections = [tensors[f"{prefix}self_attn.{name}_proj.weight"].T for name in ("q", "k", "v")]
        layers.append(
            Layer(
                attention_norm=tensors[f"{prefix}input_layernorm.weight"],
                query_key_value=np.concatenate(projections, axis=1),
                output=_transposed(tensors[f"{prefix}self_attn.o_proj.weight"]),
                feed_forward_norm=tensors[f"{prefix}post_attention_layernorm.weight"],
                expand=_transposed(tensors[f"{prefix}mlp.fc1.weight"]),
                expand_bias=tensors[f"{prefix}mlp.fc1.bias"],
                reduce=_transposed(tensors[f"{prefix}mlp.fc2.weight"]),
                reduce_bias=tensors[f"{prefix}mlp.fc2.bias"],
            )
        )
    if not layers:
        raise ValueError("the tensors of the first layer are missing")
    first, second, third = (
        _convolution(tensors[f"conv{number}.weight"], tensors.get(f"conv{number}.bias"), stride)
        for number, stride in enumerate(STRIDES, 1)
    )
    norm = tensors["groupnorm.weight"], tensors["groupnorm.bias"]
    return Encoder((first, second, third), norm, tuple(layers))


def _convolution(weight: Float, bias: Float | None, stride: int) -> Convolution:
    out, _, taps = weight.shape
    matrix = np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, out))
    return Convolution(matrix, np.zeros(out, np.float32) if bias is None else bias, taps, stride)


def _transposed(weight: Float) -> Float:
    return np.ascontiguousarray(weight.T)


def _layer_norm(rows: Float, factor: Float) -> Float:
    centred = rows - rows.mean(axis=1, keepdims=True)
    power = np.einsum("tc,tc->t", centred, centred) / np.float32(rows.shape[1])
    centred *= (1.0 / np.sqrt(power + np.float32(EPSILON)))[:, None]
    centred *= factor
    return centred


def _rotate(heads: Float, cosine: Float, sine: Float) -> Float:
    """Rotate pairs of neighbouring channels of ``heads`` [H, T, D]. Channels after the rotated ones are unchanged."""
    rotated = 2 * cosine.shape[1]
    result = np.empty_like(heads)
    even, odd = heads[..., 0:rotated:2], heads[..., 1:rotated:2]
    result[..., 0:rotated:2] = even * cosine - odd * sine
    result[..., 1:rotated:2] = odd * cosine + even * sine
    result[..., rotated:] = heads[..., rotated:]
    return result
