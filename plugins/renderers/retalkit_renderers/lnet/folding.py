"""L-Net for inference: the same function up to rounding, with less work.

What does not depend on the input is worked into the weights: spectral norms, batch norms, the doubling of pixels before
a convolution (each of the four pixels sees 2 x 2 of the 3 x 3 neighbours). Layers that read the same are one, and
channels lie last in memory all the way.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from retalkit_renderers.lnet.convolutions import (
    AudioConvolution,
    DoubledConvolution,
    FinalConvolution,
    NormedConvolution,
    SpectralConvolution,
)
from retalkit_renderers.lnet.fourier import SLOPE, AdaptiveNorm, FourierBlock, FourierLayer, centre_channels_
from retalkit_renderers.lnet.network import SIDE, LNet
from retalkit_renderers.lnet.packing import PackedConvolution
from retalkit_renderers.lnet.spectrum import SpectrumMatrices
from retalkit_renderers.lnet.winograd import Part, WinogradConvolution

_WINOGRAD_SIDE: Final = 24
"""Largest picture for which Winograd's way was faster on a processor with AVX-512."""


def fold(network: LNet, *, processor: bool) -> LNet:
    """Folds a network with its weights in evaluation mode in place, its parameter names too.

    ``processor``: for float32 on a processor; it then takes one picture at a time.
    """
    encoder, decoder = network.encoder, network.decoder
    for face in ("inp", "ref"):
        _fold_normed(encoder.get_submodule(f"first_{face}"), SIDE, processor)
        for level in range(3):
            _fold_normed(encoder.get_submodule(f"{face}_down{level}"), SIDE >> level, processor)
    for level in range(3):
        side = SIDE >> level
        _fold_normed(decoder.get_submodule(f"jump{level}"), side, processor)
        doubled = cast("DoubledConvolution", decoder.get_submodule(f"up{level}"))
        decoder.add_module(f"up{level}", FoldedDoubling(doubled, side // 2, processor))
        matrices = SpectrumMatrices(side // 2).to(next(doubled.parameters()).device)
        for block in decoder.get_submodule(f"res{level}").children():
            assert isinstance(block, FourierBlock)
            block.conv1 = FoldedFourierLayer(cast("FourierLayer", block.conv1), matrices, processor)
            block.conv2 = FoldedFourierLayer(cast("FourierLayer", block.conv2), matrices, processor)
    decoder.final = FoldedFinal(cast("FinalConvolution", decoder.final), processor)
    for layer in network.audio_encoder:
        convolution, norm = cast("nn.Sequential", cast("AudioConvolution", layer).conv_block)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        cast("AudioConvolution", layer).conv_block = fuse_conv_bn_eval(convolution, norm)
    return network.eval().requires_grad_(False)


class FoldedDoubling(nn.Module):
    """``DoubledConvolution`` without the doubled picture: four ninths of its work."""

    def __init__(self, layer: DoubledConvolution, side: int, processor: bool) -> None:
        super().__init__()
        convolution = cast("SpectralConvolution", layer.model[0])
        weight = convolution.weight()
        # The first of two pixels has its left neighbour and itself twice around it, the second itself twice and its
        # right neighbour. In double precision, which not every device has.
        folding = torch.zeros(2, 2, 3, dtype=torch.float64)
        folding[0, 0, 0] = folding[0, 1, 1] = folding[0, 1, 2] = 1
        folding[1, 0, 0] = folding[1, 0, 1] = folding[1, 1, 2] = 1
        parts = torch.einsum("pak,qbl,oikl->pqoiab", folding, folding, weight.cpu().double()).to(weight)
        self.convolution = PackedConvolution(parts.flatten(0, 2), padding=(1, 1))
        if processor:
            self.convolution.pack(side, side)
        self.bias = convolution.bias
        self.rest = layer.model[1:]

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        channels = len(self.bias)
        # One row and column more than pixels: the second of two pixels looks one place further.
        parts = self.convolution(x).permute(0, 2, 3, 1).reshape(batch, height + 1, width + 1, 2, 2, channels)
        out = parts.new_empty(batch, height, 2, width, 2, channels)
        for row in (0, 1):
            for column in (0, 1):
                out[:, :, row, :, column] = parts[:, row : row + height, column : column + width, row, column]
        out += self.bias
        return self.rest(out.view(batch, 2 * height, 2 * width, channels).permute(0, 3, 1, 2))


class FoldedFinal(nn.Module):
    """``FinalConvolution`` column by column: kernels of 3 outputs would leave most of the processor's lanes empty."""

    def __init__(self, layer: FinalConvolution, processor: bool) -> None:
        super().__init__()
        convolution = cast("SpectralConvolution", layer.model[0])
        weight = convolution.weight()
        self.outside, inside, self.size, _ = weight.shape
        # [columns * outside, inside, rows, 1]
        columns = weight.permute(3, 0, 1, 2).reshape(-1, inside, self.size, 1)
        self.convolution = PackedConvolution(columns, padding=(self.size // 2, 0))
        if processor:
            self.convolution.pack(SIDE, SIDE)
        self.bias = convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        width, margin = x.shape[-1], self.size // 2
        parts = functional.pad(self.convolution(x), (margin, margin)).unflatten(1, (self.size, self.outside))
        out = self.bias[:, None, None] + parts[:, 0, :, :, :width]
        for column in range(1, self.size):
            out += parts[:, column, :, :, column : column + width]
        return torch.sigmoid(out)


class MirroredConvolutions(nn.Module):
    """The three 3 x 3 convolutions of a Fourier layer as two: local to all channels, and global to local."""

    def __init__(self, to_all: Tensor, to_local: Tensor, side: int, processor: bool) -> None:
        super().__init__()
        self.local = to_local.shape[0]
        self.to_all = PackedConvolution(to_all)
        self.to_local = PackedConvolution(to_local)
        if processor:
            self.to_all.pack(side + 2, side + 2)
            self.to_local.pack(side + 2, side + 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (1, 1, 1, 1), mode="reflect")
        out = self.to_all(x[:, : self.local])
        out[:, : self.local] += self.to_local(x[:, self.local :])
        return out


class FoldedFourierLayer(nn.Module):
    """``FourierLayer`` with its batch norms worked in and its spectrum by products."""

    def __init__(self, layer: FourierLayer, matrices: SpectrumMatrices, processor: bool) -> None:
        super().__init__()
        ffc, side = layer.ffc, matrices.side
        self.local = ffc.local
        self.convolutions = _mirrored_convolutions(layer, side, processor)
        transform = ffc.convg2g
        weight, bias = _with_norm(cast("nn.Conv2d", transform.conv1[0]), cast("nn.BatchNorm2d", transform.conv1[1]))
        self.inner = PackedConvolution(weight, bias)
        half = weight.shape[0]
        weight, bias = _with_norm(transform.fu.conv_layer, transform.fu.bn)
        # Published: real and imaginary part of a channel side by side. Here: all real parts first.
        order = torch.arange(2 * half, device=weight.device).view(half, 2).T.flatten()
        self.mix = PackedConvolution(weight[order][:, order], bias[order])
        self.outer = PackedConvolution(transform.conv2.weight)
        if processor:
            self.inner.pack(side, side)
            self.mix.pack(side, matrices.columns)
            self.outer.pack(side, side)
        self.matrices = matrices
        self.speech = nn.ModuleList(_AdaptiveScale(norm) for norm in (layer.bn_l, layer.bn_g))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        out = self.convolutions(x)
        inner = functional.relu_(self.inner(x[:, self.local :]))
        pixels = inner.permute(0, 2, 3, 1).flatten(1, 2)
        frequencies = self.matrices.to_frequencies(pixels).unflatten(0, (batch, height))
        frequencies = functional.relu_(self.mix(frequencies.permute(0, 3, 1, 2))).permute(0, 2, 3, 1).flatten(0, 1)
        pixels = pixels + self.matrices.to_pixels(frequencies, batch)
        out[:, self.local :] += self.outer(pixels.unflatten(1, (height, width)).permute(0, 3, 1, 2))
        scales, offsets = zip(*(speech(z) for speech in self.speech), strict=True)
        scale, offset = (torch.cat(parts, dim=1)[..., None, None] for parts in (scales, offsets))
        factor = centre_channels_(out) * scale
        return functional.leaky_relu_(torch.addcmul(offset, out, factor, out=out), SLOPE)


class _AdaptiveScale(nn.Module):
    """Scale and offset of ``AdaptiveNorm``, both [B, channels], by two products in place of three."""

    weight: Tensor
    bias: Tensor

    def __init__(self, norm: AdaptiveNorm) -> None:
        super().__init__()
        self.hidden = norm.mlp_shared
        weight = torch.cat([norm.mlp_gamma.weight, norm.mlp_beta.weight])
        bias = torch.cat([norm.mlp_gamma.bias + 1, norm.mlp_beta.bias])
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        scale, offset = functional.linear(self.hidden(z), self.weight, self.bias).chunk(2, dim=1)
        return scale, offset


def _mirrored_convolutions(layer: FourierLayer, side: int, processor: bool) -> nn.Module:
    ffc = layer.ffc
    to_all = torch.cat([ffc.convl2l.weight, ffc.convl2g.weight])
    to_local = ffc.convg2l.weight
    if processor and side <= _WINOGRAD_SIDE:
        parts = [Part(slice(None, ffc.local), to_all), Part(slice(ffc.local, None), to_local)]
        fast = WinogradConvolution(side, parts, None, "mirrored")
        if fast.ready:
            return fast
    return MirroredConvolutions(to_all, to_local, side, processor)


def _fold_normed(layer: nn.Module, side: int, processor: bool) -> None:
    model = cast("NormedConvolution", layer).model
    convolution = cast("SpectralConvolution", model[0])
    weight, bias, padding = convolution.weight(), convolution.bias, convolution.padding
    if processor and side <= _WINOGRAD_SIDE:
        fast = WinogradConvolution(side, [Part(slice(None), weight)], bias, "zeros")
        if fast.ready:
            model[0] = fast
            return
    plain = PackedConvolution(weight, bias, (padding, padding))
    if processor:
        plain.pack(side, side)
    model[0] = plain


def _with_norm(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution (without bias) with the batch norm behind it worked in."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return convolution.weight * factor[:, None, None, None], norm.bias - norm.running_mean * factor
