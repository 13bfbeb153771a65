"""Convolutions whose weights an identity code scales, brought into plain weights once for each identity.

Karras et al., "Analyzing and improving the image quality of StyleGAN", CVPR 2020, equations 1 to 3: the code scales the
input channels (modulation), then every output channel is brought to unit length (demodulation). Since one code serves
every frame with the same reference, the scaled weights are made once and the convolution itself is an ordinary one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CODE_SIZE = 512
SLOPE = 0.2
"""Of the leaky ReLU everywhere in the network."""
_EPSILON = 1e-8


class ModulatedConvolution(nn.Module):
    """The parameters of one modulated convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, demodulate: bool) -> None:
        super().__init__()
        self._demodulate = demodulate
        self.modulation = nn.Linear(CODE_SIZE, inputs)
        self.weight = nn.Parameter(torch.empty(1, outputs, inputs, kernel, kernel))

    def fold(self, code: Tensor) -> Tensor:
        """[outputs, inputs, kernel, kernel]: the weights for one identity code [512]."""
        weight = self.weight[0] * self.modulation(code)[None, :, None, None]
        if self._demodulate:
            weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + _EPSILON)
        return weight


class StyledConvolution(nn.Module):
    """A modulated 3 x 3 convolution, noise of a learned strength, a bias, a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConvolution(inputs, outputs, 3, demodulate=True)
        self.weight = nn.Parameter(torch.empty(1))  # strength of the noise
        self.bias = nn.Parameter(torch.empty(1, outputs, 1, 1))

    def fold(self, code: Tensor) -> Tensor:
        """[outputs, inputs, 3, 3]: the weights for one identity code [512], with the factor that keeps the variance
        through the activation."""
        return self.modulated_conv.fold(code) * 2**0.5

    def finish(self, convolved: Tensor, noise: Tensor | None) -> Tensor:
        """Noise [T, 1, h, w] and activation for a result that has its bias already; works in place."""
        if noise is not None:
            convolved += self.weight * noise
        return functional.leaky_relu_(convolved, SLOPE)


class ToColours(nn.Module):
    """A modulated 1 x 1 convolution to three colours."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConvolution(inputs, 3, 1, demodulate=False)
        self.bias = nn.Parameter(torch.empty(1, 3, 1, 1))

    def fold(self, code: Tensor) -> Tensor:
        """[3, inputs, 1, 1]: the weights for one identity code [512]."""
        return self.modulated_conv.fold(code)
