"""ParseNet for float32 on a processor: the same function up to rounding, with a third of the products.

Batch norms are worked into the weights, 3 x 3 convolutions take a quarter of the products (``winograd``, ``nearest``),
shortcut and first convolution of a block that doubles the size read the same and are one. Pictures are [h, w,
channels]; what only the next layer reads is made a band of rows at a time, so that it does not leave the caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from retalkit_enhancers.convolutions import nearest, winograd
from retalkit_enhancers.convolutions.fast import laid_out
from retalkit_enhancers.convolutions.nearest import DoublingKernel
from retalkit_enhancers.convolutions.scratch import Scratch
from retalkit_enhancers.parsing.network import CLASSES, SLOPE, Convolution, ParseNet, Residual

STEP: Final = 64
"""Height and width must be multiples of this."""
_BAND: Final = 32
"""Rows of a band, a multiple of 4."""


@dataclass(frozen=True, slots=True)
class _Same:
    """A block that keeps the size."""

    first: Tensor
    second: Tensor
    biases: tuple[Tensor, Tensor]

    def draw_upon(self, picture: Tensor, scratch: Scratch) -> None:
        """``picture`` [h, w, channels] becomes the result."""
        inner = torch.empty_like(picture)
        winograd.draw(picture, self.first, self.biases[0], inner, scratch, slope=SLOPE)
        picture += self.biases[1]
        winograd.draw_upon(inner, self.second, picture, scratch)


@dataclass(frozen=True, slots=True)
class _Halving:
    """A block that halves the size."""

    first: Tensor
    first_bias: Tensor
    second: Tensor
    shortcut: Tensor
    bias: Tensor
    """Of ``second`` and ``shortcut`` together."""

    def __call__(self, bordered: Tensor, scratch: Scratch) -> Tensor:
        """[h + 1, w + 1, inputs] to [h / 2 + 1, w / 2 + 1, outputs], both with a border (see ``_mirror``)."""
        picture = bordered[1:, 1:]
        height, width = picture.shape[:2]
        result = picture.new_empty(height // 2 + 1, width // 2 + 1, len(self.bias))
        count = min(_BAND, height)
        band = picture.new_empty(count + 1, width + 1, len(self.first_bias))
        for start in range(0, height, count):
            stop = min(start + count, height)
            band[0] = band[count]  # the last row of the band before
            part = band[: stop - start + 1]
            winograd.draw(picture, self.first, self.first_bias, part[1:, 1:], scratch, start, SLOPE)
            part[:, 0] = part[:, 2]
            if start == 0:
                part[0] = part[2]
            drawn = _halved(part, self.second, self.bias)
            drawn += _halved(bordered[start : stop + 1], self.shortcut, None)
            result[1 + start // 2 : 1 + stop // 2, 1:] = drawn
        return _mirror(result)


@dataclass(frozen=True, slots=True)
class _Doubling:
    """A block that doubles the size."""

    first: DoublingKernel
    """Of the shortcut and the first convolution beside each other."""
    first_bias: Tensor
    second: Tensor

    def __call__(self, picture: Tensor, scratch: Scratch) -> Tensor:
        """[h, w, inputs] to [2h, 2w, outputs]."""
        height, width, _ = picture.shape
        channels = self.second.shape[2]
        both = picture.new_empty(2 * height, 2 * width, 2 * channels)
        nearest.draw(picture, self.first, self.first_bias, both, scratch)
        result, inner = both[..., :channels], both[..., channels:]
        functional.leaky_relu_(inner, SLOPE)
        winograd.draw_upon(inner, self.second, result, scratch)
        return result


class QuickParseNet:
    """A network that was loaded, ready to parse. It keeps no parameter of the other, and nothing of what it saw."""

    def __init__(self, network: ParseNet) -> None:
        """``network``: float32, on the processor, in evaluation mode."""
        first, *down = network.encoder
        self._first = laid_out(_folded(first)[0])
        self._first_bias = _folded(first)[1]
        self._down = [_halving(block) for block in down]
        self._body = [_same(block) for block in network.body]
        self._up = [_doubling(block) for block in network.decoder]
        weight, self._last_bias = _folded(network.out_mask_conv)
        self._last = winograd.transformed(weight)

    def __call__(self, faces: Tensor) -> Tensor:
        """[B, 3, h, w] RGB in [-1, 1] -> [B, 19, h, w] scores of the classes; h and w multiples of 64."""
        if faces.shape[2] % STEP or faces.shape[3] % STEP:
            raise ValueError(f"faces of {faces.shape[3]} x {faces.shape[2]}: use multiples of {STEP}")
        result = faces.new_empty(len(faces), *faces.shape[2:], CLASSES)
        scratch = Scratch()
        for face, scores in zip(faces.split(1), result, strict=True):
            self._parse(face, scores, scratch)
        return result.permute(0, 3, 1, 2)

    def _parse(self, face: Tensor, scores: Tensor, scratch: Scratch) -> None:
        """One face at a time: more would leave the caches."""
        padded = laid_out(functional.pad(face, (2, 1, 2, 1), "reflect"))
        drawn = functional.conv2d(padded, self._first, self._first_bias)
        values = _mirror(drawn[0].permute(1, 2, 0))
        for halve in self._down:
            values = halve(values, scratch)
        coded = values[1:, 1:]
        values = coded.contiguous()
        for block in self._body:
            block.draw_upon(values, scratch)
        values += coded
        for double in self._up:
            values = double(values, scratch)
        winograd.draw(values, self._last, self._last_bias, scores, scratch)


def _mirror(bordered: Tensor) -> Tensor:
    """Fills the row above and the column left of a picture, [h + 1, w + 1, channels], as mirrored borders have them.

    Convolutions that halve the size look no further to the other sides.
    """
    bordered[0] = bordered[2]
    bordered[:, 0] = bordered[:, 2]
    return bordered


def _halved(bordered: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[h + 1, w + 1, inputs] to [h / 2, w / 2, outputs]."""
    return functional.conv2d(bordered.permute(2, 0, 1)[None], weight, bias, stride=2)[0].permute(1, 2, 0)


def _folded(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with its batch norm worked in."""
    assert isinstance(layer, Convolution)
    weight, bias, norm = layer.conv2d.weight, layer.conv2d.bias, layer.batch_norm
    if norm is not None:
        assert norm.running_mean is not None and norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    assert bias is not None
    return weight.detach(), bias.detach()


def _same(block: nn.Module) -> _Same:
    assert isinstance(block, Residual)
    (first, first_bias), (second, second_bias) = _folded(block.conv1), _folded(block.conv2)
    return _Same(winograd.transformed(first), winograd.transformed(second), (first_bias, second_bias))


def _halving(block: nn.Module) -> _Halving:
    assert isinstance(block, Residual)
    (first, first_bias), (second, bias) = _folded(block.conv1), _folded(block.conv2)
    shortcut, shortcut_bias = _folded(block.shortcut_func)
    return _Halving(winograd.transformed(first), first_bias, laid_out(second), laid_out(shortcut), bias + shortcut_bias)


def _doubling(block: nn.Module) -> _Doubling:
    assert isinstance(block, Residual)
    (first, first_bias), (second, bias) = _folded(block.conv1), _folded(block.conv2)
    shortcut, shortcut_bias = _folded(block.shortcut_func)
    # The bias of the second convolution may come with the shortcut.
    biases = torch.cat((shortcut_bias + bias, first_bias))
    return _Doubling(nearest.ready(torch.cat((shortcut, first))), biases, winograd.transformed(second))
