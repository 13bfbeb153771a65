"""D-Net: edits the expression of a portrait, driven by 3DMM coefficients of neighbouring frames.

The network of PIRenderer (Ren et al., ICCV 2021) as VideoReTalking (Cheng et al., SIGGRAPH Asia 2022) trained it.
Parameter names and shapes are those of the published ``DNet.pt``; numbers agree with the published implementation.
"""

from __future__ import annotations

from typing import NamedTuple

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


class DNetOutput(NamedTuple):
    """Output of D-Net for a batch."""

    image: Tensor
    """[B, 3, 256, 256], RGB in (-1, 1): the edited portrait."""
    warped: Tensor
    """[B, 3, 256, 256]: the source warped by the flow."""
    flow: Tensor
    """[B, 2, 64, 64], x and y in pixels of a 64 x 64 image: offset of the sampling position of each pixel."""


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return name and shape of each parameter of the published network."""
    return state_shapes(DNet)


class DNet(nn.Module):
    """Mapping, warping and editing network. ``warpping_net`` is spelled as in the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping_net = MappingNet()
        self.warpping_net = WarpingNet()
        self.editing_net = EditingNet()

    def forward(self, image: Tensor, coefficients: Tensor) -> DNetOutput:
        """``image`` [B, 3, 256, 256], RGB in [-1, 1]; ``coefficients`` [B, 73, 26] as ``driving_window`` makes them."""
        descriptor = self.mapping_net(coefficients).flatten(1)
        flow = self.warpping_net(image, descriptor)
        warped = warp(image, flow)
        return DNetOutput(self.editing_net(image, warped, descriptor), warped, flow)


class MappingNet(nn.Module):
    """Coefficients of 26 frames [B, 73, 26] to one descriptor [B, 256, 1]."""

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
    """Predicts the flow [B, 2, 64, 64] from the source to the edited portrait."""

    def __init__(self) -> None:
        super().__init__()
        self.hourglass = Hourglass()
        self.flow_out = nn.Sequential(LayerNorm2d(256), nn.LeakyReLU(NEGATIVE_SLOPE), same_convolution(7, 256, 2))

    def forward(self, image: Tensor, descriptor: Tensor) -> Tensor:
        return self.flow_out(self.hourglass(image, descriptor))


class Hourglass(nn.Module):
    """Five downsampling and three upsampling blocks with skip connections: [B, 256, 64, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = HourglassEncoder()
        self.decoder = HourglassDecoder()

    def forward(self, image: Tensor, descriptor: Tensor) -> Tensor:
        return self.decoder(self.encoder(image, descriptor), descriptor)


class HourglassEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_layer = same_convolution(7, 3, 32)
        self.encoder0 = AdaptiveDownsample(32, 64, DESCRIPTOR)
        self.encoder1 = AdaptiveDownsample(64, 128, DESCRIPTOR)
        self.encoder2 = AdaptiveDownsample(128, 256, DESCRIPTOR)
        self.encoder3 = AdaptiveDownsample(256, 256, DESCRIPTOR)
        self.encoder4 = AdaptiveDownsample(256, 256, DESCRIPTOR)

    def forward(self, image: Tensor, descriptor: Tensor) -> list[Tensor]:
        """Return the features after each of the last four blocks, sides 64, 32, 16 and 8."""
        x = self.encoder0(self.input_layer(image), descriptor)
        features: list[Tensor] = []
        for downsample in (self.encoder1, self.encoder2, self.encoder3, self.encoder4):
            x = downsample(x, descriptor)
            features.append(x)
        return features


class HourglassDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder4 = AdaptiveUpsample(256, 256, DESCRIPTOR)
        self.decoder3 = AdaptiveUpsample(512, 256, DESCRIPTOR)
        self.decoder2 = AdaptiveUpsample(512, 128, DESCRIPTOR)

    def forward(self, features: list[Tensor], descriptor: Tensor) -> Tensor:
        *skips, x = features
        for upsample, feature in zip((self.decoder4, self.decoder3, self.decoder2), reversed(skips), strict=True):
            x = torch.cat([upsample(x, descriptor), feature], dim=1)
        return x


class EditingNet(nn.Module):
    """Refines the warped portrait: [B, 3, 256, 256] in (-1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EditingEncoder()
        self.decoder = EditingDecoder()

    def forward(self, image: Tensor, warped: Tensor, descriptor: Tensor) -> Tensor:
        return self.decoder(self.encoder(torch.cat([image, warped], dim=1)), descriptor)


class EditingEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = ConvolutionBlock(6, 64, 7)
        self.down0 = DownsampleBlock(64, 128)
        self.down1 = DownsampleBlock(128, 256)
        self.down2 = DownsampleBlock(256, 256)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features with sides 256, 128, 64 and 32."""
        features = [self.first(x)]
        for downsample in (self.down0, self.down1, self.down2):
            features.append(downsample(features[-1]))
        return features


class EditingDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up2, self.res2, self.jump2 = self._level(256, 256)
        self.up1, self.res1, self.jump1 = self._level(256, 128)
        self.up0, self.res0, self.jump0 = self._level(128, 64)
        self.final = ToImage(64)

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
    """Return ``image`` [B, 3, H, W] warped by ``flow`` [B, 2, h, w], in pixels of the flow.

    As published, the grid places -1 and 1 at the centres of the border pixels, and the sampling at their outer edges.
    A flow of zero therefore shrinks the image by two of its 256 pixels at each border; the weights were trained so.
    """
    height, width = flow.shape[2:]
    last = torch.tensor([width - 1, height - 1], dtype=flow.dtype, device=flow.device)
    right = torch.arange(width, dtype=flow.dtype, device=flow.device)
    down = torch.arange(height, dtype=flow.dtype, device=flow.device)
    identity = torch.stack(torch.meshgrid(right, down, indexing="xy"), dim=-1)
    grid = (2 * (identity / last) - 1) + 2 * (flow.permute(0, 2, 3, 1) / last)
    grid = functional.interpolate(grid.permute(0, 3, 1, 2), image.shape[2:], mode="bilinear", align_corners=False)
    return functional.grid_sample(image, grid.permute(0, 2, 3, 1), align_corners=False)
