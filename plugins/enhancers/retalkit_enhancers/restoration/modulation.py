"""Convolutions whose inputs a code scales: the layer that both restoration networks are built of.

Karras et al., "Analyzing and improving the image quality of StyleGAN", CVPR 2020, equations 1 to 3. Every face has a
code of its own, so the weights are not scaled (they would be made anew for each face): scaling the input channels
before a convolution that all faces share, and the output channels after it, is the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.convolutions.doubling import doubled_convolution
from retalkit_enhancers.convolutions.fast import Kernel, convolve, ready

SLOPE = 0.2
"""Of the leaky ReLU everywhere in both networks."""
_EPSILON = 1e-8


class ModulatedConvolution(nn.Module):
    """The parameters of one modulated convolution, and its three steps: scale, convolve, demodulate."""

    _kernel: Kernel | None = None

    def __init__(self, modulation: nn.Module, inputs: int, outputs: int, size: int, gain: float = 1) -> None:
        """``modulation`` brings codes [B, 512] to [B, inputs]; ``size`` of the kernel; ``gain`` of its weights."""
        super().__init__()
        self._gain = gain
        self.weight = nn.Parameter(torch.empty(1, outputs, inputs, size, size))
        self.modulation = modulation

    def arrange(self) -> None:
        """Makes the weights of a 3 x 3 kernel ready for pictures of at least 32 x 32; they must not change then."""
        self._kernel = ready(self.weight.detach()[0])

    def scales(self, code: Tensor) -> Tensor:
        """[B, inputs]: factors of the input channels for codes [B, 512]."""
        return self.modulation(code).float() * self._gain

    def demodulation(self, scales: Tensor) -> Tensor:
        """[B, outputs, 1, 1]: factors of the output channels that bring their weights to unit length."""
        energies = self.weight[0].square().sum((2, 3))  # [outputs, inputs]
        # No matrix product: under reduced precision it would lose the small numbers.
        lengths = (scales.square()[:, None] * energies).sum(2)
        return torch.rsqrt(lengths + _EPSILON)[..., None, None]

    def plain(self, values: Tensor) -> Tensor:
        """[B, inputs, h, w], scaled already, to [B, outputs, h, w]: the 3 x 3 kernel with zeros around the picture."""
        if self._kernel is None:
            return functional.conv2d(values, self.weight[0], padding=1)
        return convolve(values, self._kernel, values.new_zeros(self.weight.shape[1]), padding=1)

    def doubled(self, values: Tensor) -> Tensor:
        """[B, inputs, h, w], scaled already, to [B, outputs, 2h, 2w]: the 3 x 3 kernel after bilinear doubling."""
        return doubled_convolution(values, self.weight[0])

    def mixed(self, values: Tensor, scales: Tensor) -> Tensor:
        """[B, inputs, h, w] to [B, outputs, h, w]: a 1 x 1 kernel. It has few outputs, so its weights are scaled."""
        weights = self.weight[0, :, :, 0, 0] * scales[:, None]  # [B, outputs, inputs]
        faces = zip(values.split(1), weights, strict=True)
        return torch.cat([functional.conv2d(face, weight[..., None, None]) for face, weight in faces])
