"""Convolutions whose weights lie ready in the order that the processor's kernel reads."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

_TOLERANCE: Final = 1e-3


class PackedConvolution(nn.Module):
    """A convolution of stride 1, with zeros around the picture.

    torch brings the weights of a convolution into the kernel's order at every call. Where a picture has 144 pixels and
    a layer millions of weights, this takes a quarter of the time. ``pack`` does it once, by the operations that
    ``torch.compile`` emits; where this torch has none that give the same result, the plain convolution stays.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, padding: tuple[int, int] = (0, 0), groups: int = 1
    ) -> None:
        """``weight`` [outside, inside / groups, height, width], ``bias`` [outside]."""
        super().__init__()
        self.register_buffer("weight", weight.clone(memory_format=torch.contiguous_format))
        self.register_buffer("bias", None if bias is None else bias.clone())
        self._padding = list(padding)
        self._groups = groups
        self._packed: Tensor | None = None

    def pack(self, height: int, width: int) -> bool:
        """For float32 inputs of that many pixels, on a processor. Returns whether it could be done."""
        assert self.weight is not None
        probe = torch.linspace(-1, 1, self.weight.shape[1] * self._groups)[None, :, None, None]
        probe = probe.expand(-1, -1, height, width).contiguous(memory_format=torch.channels_last)
        expected = self(probe)
        try:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, self._padding, [1, 1], [1, 1], self._groups, list(probe.shape)
            )
            found = self(probe)
        except (AttributeError, RuntimeError, TypeError):
            self._packed = None
            return False
        if found.shape != expected.shape or not torch.allclose(found, expected, _TOLERANCE, _TOLERANCE):
            self._packed = None
            return False
        self.weight = None  # The packed ones are enough; for this network the plain ones are half a gigabyte.
        return True

    def forward(self, x: Tensor) -> Tensor:
        if self._packed is not None:
            arguments = (self._padding, [1, 1], [1, 1], self._groups, "none", [], "")
            return torch.ops.mkldnn._convolution_pointwise(x, self._packed, self.bias, *arguments)
        assert self.weight is not None
        return functional.conv2d(x, self.weight, self.bias, padding=self._padding, groups=self._groups)
