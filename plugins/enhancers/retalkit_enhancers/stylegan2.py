"""Modulated convolutions of StyleGAN2, shared by E-Net, GFPGAN and GPEN.

Karras et al., "Analyzing and improving the image quality of StyleGAN", CVPR 2020, equations 1 to 3. Each face has a
separate style code. Scaling the input channels before a convolution with shared weights, and the output channels
after it, gives the same result as scaling the weights for each face, and works for any batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

CODE_SIZE = 512
"""Length of a style code."""
NEGATIVE_SLOPE = 0.2
"""Of every leaky ReLU in these networks."""
ACTIVATION_GAIN = 2**0.5
"""Keeps the variance through a leaky ReLU."""
_EPSILON = 1e-8


class ModulatedConvolution(nn.Module):
    """A convolution whose input channels are scaled by a style code, with optional demodulation.

    Stride 1, zero padding: [B, inputs, h, w] and codes [B, 512] -> [B, outputs, h, w].
    """

    def __init__(
        self, modulation: nn.Module, inputs: int, outputs: int, kernel: int, *, demodulate: bool = True, gain: float = 1
    ) -> None:
        """``modulation`` maps codes [B, 512] to [B, inputs]; the weights are multiplied by ``gain``."""
        super().__init__()
        self._demodulate, self._gain = demodulate, gain
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5)
        self.modulation = modulation

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        # Not in reduced precision: the sum of squares would lose small numbers.
        scales = self.modulation(code).float() * self._gain
        out = self.convolve(x * scales[..., None, None])
        if not self._demodulate:
            return out
        energies = self.weight[0].square().sum((2, 3))  # [outputs, inputs]
        lengths = (scales.square()[:, None] * energies).sum(2)
        return out * torch.rsqrt(lengths + _EPSILON)[..., None, None]

    def convolve(self, x: Tensor) -> Tensor:
        """Return the convolution of the modulated input [B, inputs, h, w]."""
        return functional.conv2d(x, self.weight[0], padding=self.weight.shape[-1] // 2)


class UpsampledConvolution(ModulatedConvolution):
    """Modulated 3 x 3 convolution of the bilinearly enlarged input: [B, inputs, h, w] -> [B, outputs, 2h, 2w].

    Bilinear doubling inserts zeros between pixels and filters with (1, 3, 3, 1) / 4 in both directions. The filter
    commutes with the convolution, which can then skip the zeros (a transposed convolution) and needs a quarter of the
    multiplications. The three outermost rows and columns differ from those of the two separate steps: use it where the
    border is cropped.
    """

    def convolve(self, x: Tensor) -> Tensor:
        weight = self.weight[0].flip(2, 3).transpose(0, 1)
        out = functional.conv_transpose2d(x, weight, stride=2)  # 2h + 1
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device) / 4
        kernel = torch.outer(taps, taps).expand(out.shape[1], 1, 4, 4)
        return functional.conv2d(out, kernel, padding=1, groups=out.shape[1])


def upsample(x: Tensor) -> Tensor:
    """Return ``x`` [B, C, h, w] enlarged bilinearly to [B, C, 2h, 2w]."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class StyledConvolution(nn.Module):
    """Modulated 3 x 3 convolution, noise of a learned strength, bias and leaky ReLU; optionally doubles the size.

    The layer of the generators of E-Net and GFPGAN.
    """

    def __init__(self, inputs: int, outputs: int, *, enlarge: bool, inexact_border: bool = False) -> None:
        """``inexact_border``: whether ``enlarge`` may use ``UpsampledConvolution``."""
        super().__init__()
        self._enlarge = enlarge and not inexact_border
        kind = UpsampledConvolution if enlarge and inexact_border else ModulatedConvolution
        self.modulated_conv = kind(nn.Linear(CODE_SIZE, inputs), inputs, outputs, 3)
        self.weight = nn.Parameter(torch.zeros(1))  # strength of the noise
        self.bias = nn.Parameter(torch.zeros(1, outputs, 1, 1))

    @property
    def is_noisy(self) -> bool:
        """Whether the strength of the noise is not zero."""
        return float(self.weight.detach()) != 0

    def forward(self, x: Tensor, code: Tensor, noise: Tensor | None) -> Tensor:
        """[B, inputs, h, w], codes [B, 512], noise [B, 1, h', w'] -> [B, outputs, h', w']."""
        out = self.modulated_conv(upsample(x) if self._enlarge else x, code) * ACTIVATION_GAIN
        if noise is not None:
            out = out + self.weight * noise
        return functional.leaky_relu(out + self.bias, NEGATIVE_SLOPE)


class ToColours(nn.Module):
    """Modulated 1 x 1 convolution to three colours, added to the enlarged colours of the previous level."""

    def __init__(self, inputs: int, *, enlarge: bool = True) -> None:
        super().__init__()
        self._enlarge = enlarge
        self.modulated_conv = ModulatedConvolution(nn.Linear(CODE_SIZE, inputs), inputs, 3, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, code: Tensor, colours: Tensor | None) -> Tensor:
        """[B, inputs, h, w], codes [B, 512], colours [B, 3, h/2, w/2] or None -> [B, 3, h, w]."""
        out = self.modulated_conv(x, code) + self.bias
        if colours is None:
            return out
        return out + (upsample(colours) if self._enlarge else colours)


def optional_noise(noise: Sequence[Tensor] | None, layers: int) -> Sequence[Tensor | None]:
    """Return the noise of each layer, or None for each."""
    return [None] * layers if noise is None else noise


class DownBlock(nn.Module):
    """Two convolutions with a shortcut; halves height and width. Part of the encoders of E-Net and GFPGAN."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] -> [B, outputs, h/2, w/2]. The mean of 2 x 2 pixels is bilinear halving."""
        inner = functional.leaky_relu(self.conv1(x), NEGATIVE_SLOPE)
        inner = functional.leaky_relu(self.conv2(functional.avg_pool2d(inner, 2)), NEGATIVE_SLOPE)
        # A 1 x 1 convolution and resizing commute; the smaller image is cheaper.
        return inner + self.skip(functional.avg_pool2d(x, 2))


class UpBlock(nn.Module):
    """Two convolutions with a shortcut; doubles height and width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] -> [B, outputs, 2h, 2w]."""
        inner = functional.leaky_relu(self.conv1(x), NEGATIVE_SLOPE)
        inner = functional.leaky_relu(self.conv2(upsample(inner)), NEGATIVE_SLOPE)
        return inner + upsample(self.skip(x))
