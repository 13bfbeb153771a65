"""Modulated StyleGAN2 convolutions, which E-Net, GFPGAN and GPEN share.

Reference: Karras et al., "Analyzing and improving the image quality of StyleGAN", CVPR 2020, equations 1 to 3. Each
face has a separate style code. The published implementation scales the weights for each face. Scaling the input
channels before a convolution with shared weights and the output channels after it is equivalent and supports any batch
size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

CODE_SIZE = 512
"""Number of elements in a style code."""
NEGATIVE_SLOPE = 0.2
"""Negative slope of all leaky ReLUs in these networks."""
ACTIVATION_GAIN = 2**0.5
"""Gain that preserves the variance of activations through a leaky ReLU."""
_EPSILON = 1e-8


class ModulatedConvolution(nn.Module):
    """Convolution whose input channels are scaled by a style code, with optional demodulation.

    The convolution has a stride of 1 and zero padding. It maps [B, inputs, h, w] and codes [B, 512] to
    [B, outputs, h, w].
    """

    def __init__(
        self, modulation: nn.Module, inputs: int, outputs: int, kernel: int, *, demodulate: bool = True, gain: float = 1
    ) -> None:
        """Create the layer. ``modulation``: layer that maps codes [B, 512] to [B, inputs]. ``gain``: factor that scales
        the weights.
        """
        super().__init__()
        self._demodulate, self._gain = demodulate, gain
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5)
        self.modulation = modulation

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        # Use full precision, because the sum of squares would lose small values in reduced precision.
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
    """Modulated 3 x 3 convolution of the bilinearly upsampled input, from [B, inputs, h, w] to [B, outputs, 2h, 2w].

    Bilinear upsampling by two inserts zeros between pixels and filters with (1, 3, 3, 1) / 4 in both directions. The
    filter commutes with the convolution, so that a transposed convolution can skip the zeros with a quarter of the
    multiplications. The three outermost rows and columns differ from the result of two separate steps. The layer is
    therefore only suitable if the border is cropped.
    """

    def convolve(self, x: Tensor) -> Tensor:
        weight = self.weight[0].flip(2, 3).transpose(0, 1)
        out = functional.conv_transpose2d(x, weight, stride=2)  # 2h + 1
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device) / 4
        kernel = torch.outer(taps, taps).expand(out.shape[1], 1, 4, 4)
        return functional.conv2d(out, kernel, padding=1, groups=out.shape[1])


def upsample(x: Tensor) -> Tensor:
    """Return ``x`` [B, C, h, w], upsampled bilinearly to [B, C, 2h, 2w]."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class StyledConvolution(nn.Module):
    """Modulated 3 x 3 convolution with optional upsampling, followed by noise with a learned strength, bias and leaky
    ReLU.

    E-Net and GFPGAN use this layer in their generators.
    """

    def __init__(self, inputs: int, outputs: int, *, enlarge: bool, inexact_border: bool = False) -> None:
        """Create the layer. ``inexact_border``: whether ``enlarge`` may use ``UpsampledConvolution``."""
        super().__init__()
        self._enlarge = enlarge and not inexact_border
        kind = UpsampledConvolution if enlarge and inexact_border else ModulatedConvolution
        self.modulated_conv = kind(nn.Linear(CODE_SIZE, inputs), inputs, outputs, 3)
        self.weight = nn.Parameter(torch.zeros(1))  # noise strength
        self.bias = nn.Parameter(torch.zeros(1, outputs, 1, 1))

    @property
    def is_noisy(self) -> bool:
        """Whether the noise strength is nonzero."""
        return float(self.weight.detach()) != 0

    def forward(self, x: Tensor, code: Tensor, noise: Tensor | None) -> Tensor:
        """Map [B, inputs, h, w] to [B, outputs, h', w'].

        ``code``: style codes [B, 512]. ``noise``: [B, 1, h', w'], or None for no noise.
        """
        out = self.modulated_conv(upsample(x) if self._enlarge else x, code) * ACTIVATION_GAIN
        if noise is not None:
            out = out + self.weight * noise
        return functional.leaky_relu(out + self.bias, NEGATIVE_SLOPE)


class ToColours(nn.Module):
    """Modulated 1 x 1 convolution to RGB values, which are added to the previous level's upsampled RGB values."""

    def __init__(self, inputs: int, *, enlarge: bool = True) -> None:
        super().__init__()
        self._enlarge = enlarge
        self.modulated_conv = ModulatedConvolution(nn.Linear(CODE_SIZE, inputs), inputs, 3, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, code: Tensor, colours: Tensor | None) -> Tensor:
        """Map [B, inputs, h, w] to RGB values [B, 3, h, w].

        ``code``: style codes [B, 512]. ``colours``: RGB values of the previous level [B, 3, h/2, w/2], or None.
        """
        out = self.modulated_conv(x, code) + self.bias
        if colours is None:
            return out
        return out + (upsample(colours) if self._enlarge else colours)


def optional_noise(noise: Sequence[Tensor] | None, layers: int) -> Sequence[Tensor | None]:
    """Return the noise of each layer, or a None value for each layer if ``noise`` is None."""
    return [None] * layers if noise is None else noise


class DownBlock(nn.Module):
    """Residual encoder block of E-Net and GFPGAN with two convolutions, which halves the height and width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, h, w] to [B, outputs, h/2, w/2]. Averaging 2 x 2 pixels is equivalent to bilinear
        downsampling by two.
        """
        inner = functional.leaky_relu(self.conv1(x), NEGATIVE_SLOPE)
        inner = functional.leaky_relu(self.conv2(functional.avg_pool2d(inner, 2)), NEGATIVE_SLOPE)
        # The 1 x 1 convolution and resizing commute. Resizing first reduces the number of multiplications.
        return inner + self.skip(functional.avg_pool2d(x, 2))


class UpBlock(nn.Module):
    """Residual block with two convolutions, which doubles the height and width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, h, w] to [B, outputs, 2h, 2w]."""
        inner = functional.leaky_relu(self.conv1(x), NEGATIVE_SLOPE)
        inner = functional.leaky_relu(self.conv2(upsample(inner)), NEGATIVE_SLOPE)
        return inner + upsample(self.skip(x))
