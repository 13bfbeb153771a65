"""VideoReTalking's E-Net, which generates a 384 x 384 face from a 96 x 96 face.

Reference: Cheng et al., SIGGRAPH Asia 2022, section 3.3. An encoder computes an identity code from the reference face.
A decoder with two StyleGAN2 levels generates the face around the low-resolution face. Images are BGR in [0, 1]. The
published module contains L-Net. In Retalkit, L-Net is a separate stage that provides E-Net's input.

Parameter names and shapes match those of the published checkpoint without ``low_res``.
"""

from __future__ import annotations

from collections.abc import Sequence

from retalkit.inference import state_shapes
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.stylegan2 import (
    CODE_SIZE,
    NEGATIVE_SLOPE,
    DownBlock,
    StyledConvolution,
    ToColours,
    optional_noise,
)

LOW_SIZE = 96
SIZE = 384
NOISE_SIZES = (200, 200, 400, 400)
"""Height and width of the noise for each styled convolution, including the published padding around the face."""
_MARGIN = 2
"""Width of the reflection padding around the low-resolution face, in pixels."""
_REFERENCE_SIZE = 256
_DOWN = ((256, 256), (256, 512), (512, 512), (512, 512), (512, 512), (512, 512))
"""Numbers of input and output channels of the encoder's blocks. The first block's input is 256 pixels wide, and the
last block's output is 4 pixels wide.
"""
_LEVELS = (256, 128)
"""Numbers of channels of the decoder's levels, at 200 and 400 pixels."""


class ENet(nn.Module):
    """E-Net's identity encoder and decoder."""

    def __init__(self) -> None:
        super().__init__()
        last = _DOWN[-1][1]
        self.conv_body_first = nn.Conv2d(3, _DOWN[0][0], 1)
        self.conv_body_down = nn.ModuleList(DownBlock(*channels) for channels in _DOWN)
        self.final_conv = nn.Conv2d(last, last, 3, padding=1)
        self.final_linear = nn.Linear(last * 4 * 4, CODE_SIZE)
        self.style_convs = nn.ModuleList(
            # The inexact border is cropped after the last layer. The first layer is small, so that exact upsampling
            # adds little time there.
            StyledConvolution(inputs, outputs, enlarge=enlarge, inexact_border=inputs > 3)
            for previous, channels in zip((3, *_LEVELS[:-1]), _LEVELS, strict=True)
            for inputs, outputs, enlarge in ((previous, channels, True), (channels, channels, False))
        )
        self.to_rgbs = nn.ModuleList(ToColours(channels) for channels in _LEVELS)

    @property
    def is_noisy(self) -> bool:
        """Whether any noise strength is nonzero, in which case ``decode`` requires noise."""
        return any(isinstance(layer, StyledConvolution) and layer.is_noisy for layer in self.style_convs)

    def encode(self, reference: Tensor) -> Tensor:
        """Return identity codes [B, 512] for reference faces [B, 3, h, w], BGR in [0, 1]."""
        size = (_REFERENCE_SIZE, _REFERENCE_SIZE)
        x = functional.interpolate(reference, size=size, mode="bilinear", align_corners=False)
        x = functional.leaky_relu(self.conv_body_first(x), NEGATIVE_SLOPE)
        for block in self.conv_body_down:
            x = block(x)
        x = functional.leaky_relu(self.final_conv(x), NEGATIVE_SLOPE)
        return self.final_linear(x.flatten(1))

    def decode(self, low: Tensor, code: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return faces [B, 3, 384, 384] without clipping.

        ``low``: low-resolution faces [B, 3, 96, 96]. ``code``: identity codes [B, 512]. ``noise``: four tensors [B, 1,
        n, n] from N(0, 1) with n from ``NOISE_SIZES``, or None for no noise.
        """
        noises = optional_noise(noise, len(NOISE_SIZES))
        colours = functional.pad(low, (_MARGIN, _MARGIN, _MARGIN, _MARGIN), "reflect")
        x = colours
        for level, to_colours in enumerate(self.to_rgbs):
            for layer in (2 * level, 2 * level + 1):
                x = self.style_convs[layer](x, code, noises[layer])
            colours = to_colours(x, code, colours)
        margin = 4 * _MARGIN
        return colours[..., margin:-margin, margin:-margin]

    def forward(self, low: Tensor, reference: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return faces [B, 3, 384, 384] for low-resolution faces [B, 3, 96, 96] and reference faces [B, 3, h, w]."""
        return self.decode(low, self.encode(reference), noise)


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return each network parameter's name and shape."""
    return state_shapes(ENet)
