"""The network that predicts mouth motion from speech features, in NumPy: one core is enough, torch is not needed.

A temporal convolutional network (Bai, Kolter and Koltun, "An empirical evaluation of generic convolutional and
recurrent networks for sequence modeling", 2018) of residual blocks with pre-activation (He et al., "Identity mappings
in deep residual networks", ECCV 2016): batch norm, ReLU, dilated convolution, ReLU, 1x1 convolution. The stem halves
the rate: rows of features come at 100 Hz, rows of the network at 50 Hz.

Any range of rows is computed from the features in its receptive field, and its bits depend on that range alone. Before
the first and after the last row of the sound every layer is padded with zeros, as in training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

STEM_STRIDE = 2
STEM_PADDING = 2
_EPSILON = 1e-5
_DEFAULT_DILATIONS = (1, 2, 4, 8, 1, 2)


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """Batch norm for inference, followed by ReLU: a factor and an offset per channel, float32 [C]."""

    factor: Float
    offset: Float

    def __call__(self, rows: Float) -> Float:
        return np.maximum(rows * self.factor + self.offset, 0)


@dataclass(frozen=True, slots=True)
class Block:
    """One residual block."""

    scale: BatchNorm
    taps: Float
    """float32 [K, C, C]: the dilated convolution, one matrix per tap, applied from the right."""
    taps_bias: Float
    point: Float
    """float32 [C, C], applied from the right."""
    point_bias: Float
    dilation: int
    after: int
    """Rows of look-ahead; the other taps read earlier rows."""

    @property
    def reach(self) -> int:
        """Rows that the block needs before and after its own, together."""
        return self.dilation * (len(self.taps) - 1)

    @property
    def before(self) -> int:
        return self.reach - self.after

    def __call__(self, rows: Float, inside: slice) -> Float:
        """Return rows [J, C] for rows [J + reach, C]; only the rows ``inside`` belong to the sound."""
        count = len(rows) - self.reach
        activated = np.zeros_like(rows)
        activated[inside] = self.scale(rows[inside])
        mixed = convolve(activated, self.taps, self.dilation, count) + self.taps_bias
        return rows[self.before : self.before + count] + (np.maximum(mixed, 0) @ self.point + self.point_bias)


@dataclass(frozen=True, slots=True)
class Network:
    """The network with its weights."""

    stem: Float
    """float32 [6, inputs, C]."""
    stem_bias: Float
    blocks: tuple[Block, ...]
    scale: BatchNorm
    head: Float
    """float32 [C, outputs]."""
    head_bias: Float
    metadata: Mapping[str, str]
    """Metadata strings of the weights file."""

    @property
    def inputs(self) -> int:
        """Number of columns of the features."""
        return self.stem.shape[1]

    @property
    def outputs(self) -> int:
        return self.head.shape[1]

    @property
    def before(self) -> int:
        """Past rows at 50 Hz in the receptive field of an output row."""
        return sum(block.before for block in self.blocks)

    @property
    def after(self) -> int:
        """Future rows at 50 Hz in the receptive field of an output row."""
        return sum(block.after for block in self.blocks)

    def feature_rows(self, start: int, stop: int) -> tuple[int, int]:
        """Return the rows of features [first, last) that the output rows [start, stop) need; first may be negative."""
        first = STEM_STRIDE * (start - self.before) - STEM_PADDING
        return first, STEM_STRIDE * (stop + self.after - 1) - STEM_PADDING + len(self.stem)

    def hidden(self, features: Float, start: int, total: int) -> Float:
        """Return the last hidden layer, float32 [J, C] at least 0, of the output rows from ``start`` on.

        ``features`` float32 [R, inputs] are the rows ``feature_rows(...)``, zeros outside the sound; ``total`` is the
        number of output rows of the whole sound.
        """
        count = (len(features) - len(self.stem)) // STEM_STRIDE + 1
        rows = strided(features, self.stem, count) + self.stem_bias
        first = start - self.before
        for block in self.blocks:
            rows = block(rows, slice(max(-first, 0), max(total - first, 0)))
            first += block.before
        return self.scale(rows)

    def forward(self, features: Float, start: int, total: int) -> Float:
        """Return raw outputs float32 [J, outputs]; see ``hidden`` for the arguments."""
        return self.hidden(features, start, total) @ self.head + self.head_bias


def convolve(rows: Float, taps: Float, dilation: int, count: int) -> Float:
    """Return the unpadded dilated convolution, float32 [count, out], of rows [count + dilation * (K - 1), in]."""
    total = rows[:count] @ taps[0]
    for tap in range(1, len(taps)):
        total += rows[tap * dilation : tap * dilation + count] @ taps[tap]
    return total


def strided(rows: Float, taps: Float, count: int) -> Float:
    """Return the stem without padding, float32 [count, out], of rows [2 * count + K - 2, in]."""
    end = STEM_STRIDE * (count - 1) + 1
    total = rows[:end:STEM_STRIDE] @ taps[0]
    for tap in range(1, len(taps)):
        total += rows[tap : tap + end : STEM_STRIDE] @ taps[tap]
    return total


def load_network(path: Path) -> Network:
    """Read a safetensors file with the names of the PyTorch modules: stem, blocks.I.{norm,conv,point}, norm, head.

    The tensors may be float16 or float32; the computation is in float32. Metadata: ``dilations`` (JSON list) and
    ``after`` (JSON list, rows of look-ahead per block; default: as many as look-back).

    Raises OSError for a file that cannot be read, ValueError for one that does not contain such a network.
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
        raise ValueError(f"tensor {error} is missing") from error


def make_network(tensors: Mapping[str, Float], metadata: Mapping[str, str]) -> Network:
    """Build the network from arrays with the names and shapes of PyTorch; see ``load_network``."""
    count = sum(name.startswith("blocks.") and name.endswith(".conv.weight") for name in tensors)
    dilations = json.loads(metadata.get("dilations", "null")) or list(_DEFAULT_DILATIONS)
    if len(dilations) != count:
        raise ValueError(f"{count} blocks, but {len(dilations)} dilations")
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
        metadata=metadata,
    )


def _scale(tensors: Mapping[str, Float], name: str) -> BatchNorm:
    deviation = np.sqrt(tensors[f"{name}.running_var"].astype(np.float64) + _EPSILON)
    factor = tensors[f"{name}.weight"] / deviation
    offset = tensors[f"{name}.bias"] - factor * tensors[f"{name}.running_mean"]
    return BatchNorm(factor.astype(np.float32), offset.astype(np.float32))


def _taps(weight: Float) -> Float:
    """Convert [out, in, K], as in PyTorch, to contiguous float32 [K, in, out]."""
    return np.ascontiguousarray(weight.astype(np.float32).transpose(2, 1, 0))
