"""NumPy inference for the network that predicts mouth motion from speech features.

Inference uses one CPU core and does not require torch.

The network is a temporal convolutional network (Bai, Kolter and Koltun, "An empirical evaluation of generic
convolutional and recurrent networks for sequence modeling", 2018). It consists of residual blocks with pre-activation
(He et al., "Identity mappings in deep residual networks", ECCV 2016). Each block contains batch norm, ReLU, a dilated
convolution, ReLU and a 1x1 convolution. For log-mel features, the stem halves the frame rate from 100 Hz (features) to
50 Hz (network). For encoder features, which have 50 Hz, the stem is a 1x1 convolution.

Any range of time steps can be computed from the features in its receptive field. The result is deterministic for a
given range. As in training, every layer is zero-padded before the first and after the last time step of the audio.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

MOONSHINE = "moonshine"
"""Value of the metadata entry ``features`` for networks on outputs of the encoder (``moonshine``). Other networks use
log-mel features."""
_LOG_MEL_STRIDE, _LOG_MEL_PADDING = 2, 2
MAX_DEVIATIONS = 8.0
"""Limit of normalised encoder features."""
_EPSILON = 1e-5
_DEFAULT_DILATIONS = (1, 2, 4, 8, 1, 2)


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """Inference batch norm followed by ReLU, with a factor and an offset per channel, float32 [C]."""

    factor: Float
    offset: Float

    def __call__(self, rows: Float) -> Float:
        return np.maximum(rows * self.factor + self.offset, 0)


@dataclass(frozen=True, slots=True)
class Block:
    """Residual block with one dilated convolution."""

    scale: BatchNorm
    taps: Float
    """Dilated convolution weights, float32 [K, C, C]. The array contains one right-multiplied matrix per tap."""
    taps_bias: Float
    point: Float
    """Right-multiplied 1x1 convolution weights, float32 [C, C]."""
    point_bias: Float
    dilation: int
    after: int
    """Number of look-ahead time steps. The remaining taps access earlier time steps."""

    @property
    def reach(self) -> int:
        """Return the total number of time steps that the block requires before and after its output."""
        return self.dilation * (len(self.taps) - 1)

    @property
    def before(self) -> int:
        return self.reach - self.after

    def __call__(self, rows: Float, inside: slice) -> Float:
        """Return time steps [J, C] for input time steps [J + reach, C].

        Only the time steps in ``inside`` belong to the audio.
        """
        count = len(rows) - self.reach
        activated = np.zeros_like(rows)
        activated[inside] = self.scale(rows[inside])
        mixed = convolve(activated, self.taps, self.dilation, count) + self.taps_bias
        return rows[self.before : self.before + count] + (np.maximum(mixed, 0) @ self.point + self.point_bias)


@dataclass(frozen=True, slots=True)
class Network:
    """Network architecture and weights."""

    stem: Float
    """Stem convolution weights, float32 [K, inputs, C]."""
    stem_bias: Float
    blocks: tuple[Block, ...]
    scale: BatchNorm
    head: Float
    """Output layer weights, float32 [C, outputs]."""
    head_bias: Float
    normalisation: tuple[Float, Float] | None
    """Mean and standard deviation of encoder features, float32 [inputs]. None: the features are not normalised."""
    metadata: Mapping[str, str]
    """Metadata strings from the weights file."""

    @property
    def on_encoder(self) -> bool:
        """Return whether the features are outputs of the speech encoder."""
        return self.metadata.get("features") == MOONSHINE

    @property
    def stride(self) -> int:
        """Return the number of feature frames per time step."""
        return 1 if self.on_encoder else _LOG_MEL_STRIDE

    @property
    def padding(self) -> int:
        """Return the number of feature frames before a time step that the stem requires."""
        return 0 if self.on_encoder else _LOG_MEL_PADDING

    @property
    def inputs(self) -> int:
        """Return the number of feature columns."""
        return self.stem.shape[1]

    @property
    def outputs(self) -> int:
        return self.head.shape[1]

    @property
    def before(self) -> int:
        """Return the number of past time steps at 50 Hz in an output time step's receptive field."""
        return sum(block.before for block in self.blocks)

    @property
    def after(self) -> int:
        """Return the number of future time steps at 50 Hz in an output time step's receptive field."""
        return sum(block.after for block in self.blocks)

    def feature_rows(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range [first, last) of feature frames that the output time steps [start, stop) require.

        ``first`` may be negative.
        """
        first = self.stride * (start - self.before) - self.padding
        return first, self.stride * (stop + self.after - 1) - self.padding + len(self.stem)

    def hidden(self, features: Float, start: int, total: int) -> Float:
        """Return the non-negative last hidden layer, float32 [J, C], for the output time steps from ``start`` on.

        ``features``: feature frames ``feature_rows(...)`` with zeros outside the audio, float32 [R, inputs]. ``total``:
        number of output time steps in the complete audio.
        """
        count = (len(features) - len(self.stem)) // self.stride + 1
        if self.normalisation is not None:
            mean, deviation = self.normalisation
            features = np.clip((features - mean) / deviation, -MAX_DEVIATIONS, MAX_DEVIATIONS)
        rows = strided(features, self.stem, self.stride, count) + self.stem_bias
        first = start - self.before
        for block in self.blocks:
            rows = block(rows, slice(max(-first, 0), max(total - first, 0)))
            first += block.before
        return self.scale(rows)

    def forward(self, features: Float, start: int, total: int) -> Float:
        """Return raw outputs, float32 [J, outputs]. See ``hidden`` for the arguments."""
        return self.hidden(features, start, total) @ self.head + self.head_bias


def convolve(rows: Float, taps: Float, dilation: int, count: int) -> Float:
    """Return the unpadded dilated convolution, float32 [count, out], of an input [count + dilation * (K - 1), in]."""
    total = rows[:count] @ taps[0]
    for tap in range(1, len(taps)):
        total += rows[tap * dilation : tap * dilation + count] @ taps[tap]
    return total


def strided(rows: Float, taps: Float, stride: int, count: int) -> Float:
    """Return the unpadded convolution, float32 [count, out], of an input [stride * (count - 1) + K, in]."""
    end = stride * (count - 1) + 1
    total = rows[:end:stride] @ taps[0]
    for tap in range(1, len(taps)):
        total += rows[tap : tap + end : stride] @ taps[tap]
    return total


def load_network(path: Path) -> Network:
    """Load a safetensors file with PyTorch module names: stem, blocks.I.{norm,conv,point}, norm, head.

    The tensors may be float16 or float32. Inference uses float32. The metadata contains ``dilations`` (JSON list),
    ``after`` (JSON list of look-ahead time steps per block) and ``features``. By default, the look-ahead equals the
    look-back, and the features are log-mel features. Files for encoder features also contain the tensors
    ``features.mean`` and ``features.deviation``.

    Raises OSError if the file cannot be read, and ValueError if the file does not contain such a network.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            names = list(file.keys())
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in names}
            metadata = dict(file.metadata() or {})
        return make_network(tensors, metadata)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    except KeyError as error:
        raise ValueError(f"the tensor {error} is missing") from error


def make_network(tensors: Mapping[str, Float], metadata: Mapping[str, str]) -> Network:
    """Return the network for arrays with PyTorch names and shapes (see ``load_network``)."""
    encoded = metadata.get("features") == MOONSHINE
    count = sum(name.startswith("blocks.") and name.endswith(".conv.weight") for name in tensors)
    dilations = json.loads(metadata.get("dilations", "null")) or list(_DEFAULT_DILATIONS)
    if len(dilations) != count:
        raise ValueError(f"expected one dilation per block, got {count} blocks, but {len(dilations)} dilations")
    width = tensors["blocks.0.conv.weight"].shape[2]
    afters = json.loads(metadata.get("after", "null")) or [dilation * (width - 1) // 2 for dilation in dilations]
    blocks = tuple(
        Block(
            scale=_scale(tensors, f"blocks.{index}.norm"),
            taps=_taps(tensors[f"blocks.{index}.conv.weight"]),
            taps_bias=tensors[f"blocks.{index}.conv.bias"],
            point=_taps(tensors[f"blocks.{index}.point.weight"])[0],
            point_bias=tensors[f"blocks.{index}.point.bias"],
            dilation=int(dilations[index]),
            after=int(afters[index]),
        )
        for index in range(count)
    )
    return Network(
        stem=_taps(tensors["stem.weight"]),
        stem_bias=tensors["stem.bias"],
        blocks=blocks,
        scale=_scale(tensors, "norm"),
        head=_taps(tensors["head.weight"])[0],
        head_bias=tensors["head.bias"],
        normalisation=(tensors["features.mean"], tensors["features.deviation"]) if encoded else None,
        metadata=metadata,
    )


def _scale(tensors: Mapping[str, Float], name: str) -> BatchNorm:
    deviation = np.sqrt(tensors[f"{name}.running_var"].astype(np.float64) + _EPSILON)
    factor = tensors[f"{name}.weight"] / deviation
    offset = tensors[f"{name}.bias"] - factor * tensors[f"{name}.running_mean"]
    return BatchNorm(factor.astype(np.float32), offset.astype(np.float32))


def _taps(weight: Float) -> Float:
    """Convert a PyTorch weight [out, in, K] to contiguous float32 [K, in, out]."""
    return np.ascontiguousarray(weight.astype(np.float32).transpose(2, 1, 0))
