"""D-Net, which edits the expression of a portrait and is driven by the 3DMM coefficients of neighbouring frames.

The network has the PIRenderer architecture (Ren et al., ICCV 2021) and was trained by the authors of VideoReTalking
(Cheng et al., SIGGRAPH Asia 2022). Parameter names and shapes match those of the published ``DNet.pt``. The output
values match those of the published implementation.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from retalkit.inference import state_shapes
from torch import Tensor, nn
from torch.nn import functional

from retalkit_renderers.dnet.blocks import (
    NEGATIVE_SLOPE,
    AdaptiveDownsample,
    AdaptiveResiduals,
    AdaptiveUpsample,
    ConvolutionBlock,
    DownsampleBlock,
    ToImage,
    UpsampleBlock,
    same_convolution,
)
from retalkit_renderers.layer_norm import LayerNorm2d

COEFFICIENTS = 73
DESCRIPTOR = 256
_CHANNELS: Final = (32, 64, 128, 256)
"""Numbers of channels of the convolutions."""


class DNetOutput(NamedTuple):
    """D-Net's output for a batch."""

    image: Tensor
    """Edited portrait, [B, 3, 256, 256], RGB in (-1, 1)."""
    warped: Tensor
    """Source portrait warped by the flow, [B, 3, 256, 256]."""
    flow: Tensor
    """Offset of each pixel's sampling position (x and y), in pixels of a 64 x 64 image, [B, 2, 64, 64]."""


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each parameter in the published network."""
    return state_shapes(DNet)


class DNet(nn.Module):
    """D-Net, which consists of a mapping, a warping and an editing network. The checkpoint uses the spelling
    ``warpping_net``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mapping_net = MappingNet()
        self.warpping_net = WarpingNet()
        self.editing_net = EditingNet()

    def forward(self, image: Tensor, coefficients: Tensor) -> DNetOutput:
        """Return the edited portrait, the warped portrait and the flow.

        ``image``: source portrait, RGB in [-1, 1], [B, 3, 256, 256]. ``coefficients``: windows from ``driving_window``,
        [B, 73, 26].
        """
        descriptor = self.mapping_net(coefficients).flatten(1)
        flow = self.warpping_net(image, descriptor)
        warped = warp(image, flow)
        return DNetOutput(self.editing_net(image, warped, descriptor), warped, flow)


class MappingNet(nn.Module):
    """Mapping network, which maps the coefficients of 26 frames, [B, 73, 26], to one descriptor, [B, 256, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(COEFFICIENTS, DESCRIPTOR, 7))
        self.encoder0 = self._layer()
        self.encoder1 = self._layer()
        self.encoder2 = self._layer()

    @staticmethod
    def _layer() -> nn.Sequential:
        return nn.Sequential(nn.LeakyReLU(NEGATIVE_SLOPE), nn.Conv1d(DESCRIPTOR, DESCRIPTOR, 3, dilation=3))

    def forward(self, coefficients: Tensor) -> Tensor:
        x = self.first(coefficients)
        for layer in (self.encoder0, self.encoder1, self.encoder2):
            x = layer(x) + x[:, :, 3:-3]
        return x.mean(2, keepdim=True)


class WarpingNet(nn.Module):
    """Warping network, which predicts the flow from the source portrait to the edited portrait, [B, 2, 64, 64]."""

    def __init__(self) -> None:
        super().__init__()
        # The decoder's output and the skip connection have half of the channels each.
        channels = 2 * _CHANNELS[2]
        self.hourglass = Hourglass()
        self.flow_out = nn.Sequential(
            LayerNorm2d(channels), nn.LeakyReLU(NEGATIVE_SLOPE), same_convolution(7, channels, 2)
        )

    def forward(self, image: Tensor, descriptor: Tensor) -> Tensor:
        return self.flow_out(self.hourglass(image, descriptor))


class Hourglass(nn.Module):
    """Hourglass network with five downsampling blocks, three upsampling blocks and skip connections.

    The output is [B, 256, 64, 64].
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = HourglassEncoder()
        self.decoder = HourglassDecoder()

    def forward(self, image: Tensor, descriptor: Tensor) -> Tensor:
        return self.decoder(self.encoder(image, descriptor), descriptor)


class HourglassEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        c32, c64, c128, c256 = _CHANNELS
        self.input_layer = same_convolution(7, 3, c32)
        self.encoder0 = AdaptiveDownsample(c32, c64, DESCRIPTOR)
        self.encoder1 = AdaptiveDownsample(c64, c128, DESCRIPTOR)
        self.encoder2 = AdaptiveDownsample(c128, c256, DESCRIPTOR)
        self.encoder3 = AdaptiveDownsample(c256, c256, DESCRIPTOR)
        self.encoder4 = AdaptiveDownsample(c256, c256, DESCRIPTOR)

    def forward(self, image: Tensor, descriptor: Tensor) -> list[Tensor]:
        """Return the features after each of the last four blocks. The features' sides are 64, 32, 16 and 8 pixels."""
        x = self.encoder0(self.input_layer(image), descriptor)
        features: list[Tensor] = []
        for downsample in (self.encoder1, self.encoder2, self.encoder3, self.encoder4):
            x = downsample(x, descriptor)
            features.append(x)
        return features


class HourglassDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        c128, c256 = _CHANNELS[2:]
        self.decoder4 = AdaptiveUpsample(c256, c256, DESCRIPTOR)
        self.decoder3 = AdaptiveUpsample(2 * c256, c256, DESCRIPTOR)
        self.decoder2 = AdaptiveUpsample(2 * c256, c128, DESCRIPTOR)

    def forward(self, features: list[Tensor], descriptor: Tensor) -> Tensor:
        *skips, x = features
        for upsample, feature in zip((self.decoder4, self.decoder3, self.decoder2), reversed(skips), strict=True):
            x = torch.cat([upsample(x, descriptor), feature], dim=1)
        return x


class EditingNet(nn.Module):
    """Editing network, which refines the warped portrait. The output is [B, 3, 256, 256] in (-1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EditingEncoder()
        self.decoder = EditingDecoder()

    def forward(self, image: Tensor, warped: Tensor, descriptor: Tensor) -> Tensor:
        return self.decoder(self.encoder(torch.cat([image, warped], dim=1)), descriptor)


class EditingEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        c64, c128, c256 = _CHANNELS[1:]
        self.first = ConvolutionBlock(6, c64, 7)
        self.down0 = DownsampleBlock(c64, c128)
        self.down1 = DownsampleBlock(c128, c256)
        self.down2 = DownsampleBlock(c256, c256)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features with sides of 256, 128, 64 and 32 pixels."""
        features = [self.first(x)]
        for downsample in (self.down0, self.down1, self.down2):
            features.append(downsample(features[-1]))
        return features


class EditingDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        c64, c128, c256 = _CHANNELS[1:]
        self.up2, self.res2, self.jump2 = self._level(c256, c256)
        self.up1, self.res1, self.jump1 = self._level(c256, c128)
        self.up0, self.res0, self.jump0 = self._level(c128, c64)
        self.final = ToImage(c64)

    @staticmethod
    def _level(inputs: int, outputs: int) -> tuple[UpsampleBlock, AdaptiveResiduals, ConvolutionBlock]:
        residuals = AdaptiveResiduals(inputs, DESCRIPTOR)
        return UpsampleBlock(inputs, outputs), residuals, ConvolutionBlock(outputs, outputs)

    def forward(self, features: list[Tensor], descriptor: Tensor) -> Tensor:
        *skips, x = features
        levels = (
            (self.up2, self.res2, self.jump2),
            (self.up1, self.res1, self.jump1),
            (self.up0, self.res0, self.jump0),
        )
        for (upsample, residuals, jump), feature in zip(levels, reversed(skips), strict=True):
            x = upsample(residuals(x, descriptor)) + jump(feature)
        return self.final(x)


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Return ``image`` [B, 3, H, W], warped by ``flow`` [B, 2, h, w] in pixels of the flow grid.

    In the published implementation, the grid coordinates -1 and 1 are the centres of the border pixels, while the
    sampling function interprets them as the outer edges. A zero flow therefore shrinks the image by two of its 256
    pixels at each border. This function reproduces the inconsistency, because the published weights were trained with
    it.
    """
    height, width = flow.shape[2:]
    last = torch.tensor([width - 1, height - 1], dtype=flow.dtype, device=flow.device)
    right = torch.arange(width, dtype=flow.dtype, device=flow.device)
    down = torch.arange(height, dtype=flow.dtype, device=flow.device)
    identity = torch.stack(torch.meshgrid(right, down, indexing="xy"), dim=-1)
    grid = (2 * (identity / last) - 1) + 2 * (flow.permute(0, 2, 3, 1) / last)
    grid = functional.interpolate(grid.permute(0, 3, 1, 2), image.shape[2:], mode="bilinear", align_corners=False)
    return functional.grid_sample(image, grid.permute(0, 2, 3, 1), align_corners=False)
