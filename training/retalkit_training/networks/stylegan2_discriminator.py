"""StyleGAN2's discriminator, as GPEN and GFPGAN use it.

Reference: Karras et al., "Analyzing and improving the image quality of StyleGAN", CVPR 2020. Layers and parameter names
match those of GPEN's ``Discriminator`` (``face_model/gpen_model.py``), which is rosinality's implementation.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import torch
from retalkit.inference import state_shapes
from retalkit_enhancers.gpen.layers import Bias, EqualConvolution, EqualLinear, LowPass
from retalkit_training.networks.batch_statistics import gather_batch, process_part, statistics_are_shared
from torch import Tensor, nn
from torch.nn import functional

_CHANNELS: Final = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}
"""Number of channels at each size, for a channel multiplier of 2."""
_EPSILON: Final = 1e-8

DeviationGroups = Literal["batch", "four"]
"""Items over which the minibatch standard deviation is computed: all of the batch, or groups of four."""


class _Blur(LowPass):
    """Low-pass filter before a convolution with a stride of 2."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self._padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return self.smooth(x, self._padding)


class _PaddedConvolution(EqualConvolution):
    """3 x 3 convolution that preserves the height and width."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, (1, 1, 1, 1)))


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_PaddedConvolution(inputs, outputs, 3, stride=1), Bias(outputs))


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _layer(inputs, inputs)
        self.conv2 = nn.Sequential(_Blur(2), EqualConvolution(inputs, outputs, 3, stride=2), Bias(outputs))
        self.skip = nn.Sequential(_Blur(1), EqualConvolution(inputs, outputs, 1, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)


class StyleGan2Discriminator(nn.Module):
    """Network that maps images [B, 3, size, size] in [-1, 1] to logits [B, 1]."""

    def __init__(self, size: int, *, narrow: float = 1.0, deviation_groups: DeviationGroups = "batch") -> None:
        """Create the network.

        ``size``: side of the images, a power of two from 8 to 1024. ``narrow``: factor that multiplies all numbers of
        channels. ``deviation_groups``: ``batch`` as in GPEN, or ``four`` as in rosinality's implementation and
        StyleGAN2.

        Raises:
            ValueError: the size is not a power of two, such as E-Net's 384.
        """
        super().__init__()
        if size not in _CHANNELS or size < 8:
            raise ValueError(
                f"the discriminator exists for sizes that are powers of two from 8 to 1024, not for {size}; "
                "resize the images, for example to 256 or 512"
            )
        self.size, self._groups = size, deviation_groups
        self.over_processes = False
        sizes = [size >> level for level in range(size.bit_length() - 2)]  # size, ..., 8, 4
        channels = [int(_CHANNELS[each] * narrow) for each in sizes]
        first = nn.Sequential(EqualConvolution(3, channels[0], 1, stride=1), Bias(channels[0]))
        residuals = (_Residual(*pair) for pair in zip(channels[:-1], channels[1:], strict=True))
        self.convs = nn.Sequential(first, *residuals)
        last = channels[-1]
        self.final_conv = _layer(last + 1, last)
        self.final_linear = nn.Sequential(EqualLinear(last * 4 * 4, last, activated=True), EqualLinear(last, 1))

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-2:] != (self.size, self.size):
            raise ValueError(f"expected images of {self.size} x {self.size} pixels, got {list(images.shape)}")
        x = self.convs(images)
        x = self.final_conv(torch.cat([x, self._deviation(x)], dim=1))
        return self.final_linear(x.flatten(1))

    def _deviation(self, x: Tensor) -> Tensor:
        """Return the minibatch standard deviation as an additional feature map [B, 1, 4, 4].

        The map contains, for each group, the standard deviation over the items, averaged over channels and pixels
        (Karras et al., "Progressive growing of GANs", ICLR 2018, section 3). For one item the value is sqrt(1e-8).
        """
        if self.training and self.over_processes and statistics_are_shared():
            return process_part(self._batch_deviation(gather_batch(x)))
        return self._batch_deviation(x)

    def _batch_deviation(self, x: Tensor) -> Tensor:
        batch = len(x)
        group = batch if self._groups == "batch" else min(batch, 4)
        if batch % group:
            raise ValueError(f"a batch of {batch} cannot be divided into groups of {group}; use a multiple of {group}")
        grouped = x.unflatten(0, (group, batch // group))
        deviation = (grouped.var(0, unbiased=False) + _EPSILON).sqrt().mean((1, 2, 3), keepdim=True)
        return deviation.repeat(group, 1, *x.shape[2:])


def parameter_shapes(size: int, narrow: float = 1.0) -> dict[str, tuple[int, ...]]:
    """Return each checkpoint entry's name and shape."""
    return state_shapes(lambda: StyleGan2Discriminator(size, narrow=narrow))
