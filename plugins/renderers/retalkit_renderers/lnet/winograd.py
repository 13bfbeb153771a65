"""Convolutions of 3 x 3 with 2.25 times fewer products, for pictures of a few hundred pixels.

Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, F(2 x 2, 3 x 3): tiles of 4 x 4
pixels, two apart, become 16 numbers each; each number is mixed over the channels by a matrix of its own; 2 x 2 pixels
come back. Sums are shorter than in a plain convolution, so that the result is rather more exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retalkit_renderers.lnet.packing import PackedConvolution

_TO_TILE: Final = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float64)
_TO_KERNEL: Final = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float64)


@dataclass(frozen=True, slots=True)
class Part:
    """Some input channels that go to the first ``weight.shape[0]`` output channels."""

    inputs: slice
    weight: Tensor
    """[outside, inside, 3, 3]."""


class WinogradConvolution(nn.Module):
    """A 3 x 3 convolution of one picture [1, C, side, side], channels last, on a processor; ``side`` is even.

    The first part must have all outputs; the results of the others are added to its first channels.
    """

    _to_tiles: Tensor
    _bias: Tensor | None

    def __init__(
        self, side: int, parts: Sequence[Part], bias: Tensor | None, border: Literal["zeros", "mirrored"]
    ) -> None:
        super().__init__()
        tiles = side // 2
        self._side, self._tiles = side, tiles
        self._inputs = [part.inputs for part in parts]
        self.register_buffer("_to_tiles", torch.from_numpy(tile_matrix(side, border)).to(parts[0].weight))
        self.register_buffer("_bias", None if bias is None else bias.clone())
        to_kernel = torch.from_numpy(np.kron(_TO_KERNEL, _TO_KERNEL)).to(parts[0].weight)  # [16, 9]
        self.mixes = nn.ModuleList()
        self.ready = True
        """Whether this torch can mix fast enough for all this to be worth it."""
        for part in parts:
            inside = part.weight.shape[1]
            kernels = (to_kernel @ part.weight.flatten(2).flatten(0, 1).T).view(-1, inside, 1, 1)
            mix = PackedConvolution(kernels, groups=16)
            self.ready = self.ready and mix.pack(tiles, tiles)
            self.mixes.append(mix)

    def forward(self, x: Tensor) -> Tensor:
        rows = x[0].permute(1, 2, 0)  # [side, side, C]
        first, *others = self.mixes
        mixed = self._mixed(rows[..., self._inputs[0]], first)
        for inputs, mix in zip(self._inputs[1:], others, strict=True):
            part = self._mixed(rows[..., inputs], mix)
            mixed[..., : part.shape[-1]] += part
        out = self._pixels(mixed)
        if self._bias is not None:
            out += self._bias
        return out.permute(0, 3, 1, 2)

    def _mixed(self, rows: Tensor, mix: nn.Module) -> Tensor:
        """[side, side, inside] -> [tiles, tiles, 4, 4, outside]; tiles across, down, then numbers down, across."""
        tiles, inside = self._tiles, rows.shape[-1]
        across = torch.matmul(self._to_tiles, rows).view(self._side, tiles, 4 * inside)
        both = torch.matmul(self._to_tiles, across.transpose(0, 1)).view(1, tiles, tiles, 16 * inside)
        return mix(both.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).view(tiles, tiles, 4, 4, -1)

    def _pixels(self, mixed: Tensor) -> Tensor:
        """[tiles, tiles, 4, 4, outside] -> [1, side, side, outside]."""
        tiles = self._tiles
        out = mixed.new_empty(tiles, 2, tiles, 2, mixed.shape[-1])  # tile down, row, tile across, column
        for row, part in enumerate(_two_of_four(*mixed.unbind(2))):
            for column, pixels in enumerate(_two_of_four(*part.unbind(2))):
                out[:, row, :, column] = pixels.transpose(0, 1)
        return out.view(1, self._side, self._side, -1)


def tile_matrix(side: int, border: Literal["zeros", "mirrored"]) -> NDArray[np.float64]:
    """[4 * side / 2, side]: the four numbers of each tile along one axis, the border of one pixel included."""
    matrix = np.zeros((side // 2, 4, side))
    for tile in range(side // 2):
        for step in range(4):
            pixel = 2 * tile + step - 1
            if not 0 <= pixel < side:
                if border == "zeros":
                    continue
                pixel = 1 if pixel < 0 else side - 2
            matrix[tile, :, pixel] += _TO_TILE[:, step]
    return matrix.reshape(-1, side)


def _two_of_four(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    return (b + c).add_(a), (b - c).sub_(d)
