"""What L-Net's folded form is made of, each against the plain way to compute it."""

from __future__ import annotations

from typing import Literal

import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit_renderers.lnet.convolutions import DoubledConvolution, FinalConvolution, PictureNorm, SpectralConvolution
from retalkit_renderers.lnet.folding import FoldedDoubling, FoldedFinal, FoldedFourierLayer
from retalkit_renderers.lnet.fourier import FourierLayer, centre_channels_
from retalkit_renderers.lnet.packing import PackedConvolution
from retalkit_renderers.lnet.spectrum import SpectrumMatrices
from retalkit_renderers.lnet.winograd import Part, WinogradConvolution
from torch import Tensor, nn
from torch.nn import functional

CLOSE = {"rtol": 0.0, "atol": 2e-5}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def picture(*shape: int, seed: int = 0) -> Tensor:
    return numbers(*shape, seed=seed).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def filled(module: nn.Module) -> nn.Module:
    """With numbers of usual size, also where there are running means; ready for inference."""
    for seed, (name, value) in enumerate(module.state_dict().items()):
        if value.dim() > 1:
            value.copy_(numbers(*value.shape, seed=seed) / value[0].numel() ** 0.5)
        elif name.endswith("running_var"):
            value.copy_(numbers(*value.shape, seed=seed).abs() + 0.5)
        elif value.is_floating_point():
            value.copy_(numbers(*value.shape, seed=seed) * 0.1 + (1 if name.endswith("weight") else 0))
    for inner in module.modules():
        if isinstance(inner, SpectralConvolution):
            # Vectors of training stand for a large singular value; any two would stand for nearly none.
            inner.weight_u.copy_(functional.normalize(numbers(len(inner.bias), seed=1), dim=0))
            inner.weight_v.copy_(functional.normalize(inner.weight_u @ inner.weight_orig.flatten(1), dim=0))
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize(("border", "mode"), [("zeros", "constant"), ("mirrored", "reflect")])
@pytest.mark.parametrize("side", [4, 12])
def test_winograd_convolution_is_a_convolution(side: int, border: Literal["zeros", "mirrored"], mode: str) -> None:
    x, bias = picture(1, 12, side, side), numbers(16, seed=1)
    to_all, to_some = numbers(16, 4, 3, 3, seed=2) / 6, numbers(4, 8, 3, 3, seed=3) / 8
    parts = [Part(slice(None, 4), to_all), Part(slice(4, None), to_some)]
    found = WinogradConvolution(side, parts, bias, border)(x)
    wide = functional.pad(x.double(), (1, 1, 1, 1), mode=mode)
    expected = functional.conv2d(wide[:, :4], to_all.double(), bias.double())
    expected[:, :4] += functional.conv2d(wide[:, 4:], to_some.double())
    torch.testing.assert_close(found.double(), expected, **CLOSE)


@pytest.mark.parametrize("side", [4, 12, 24])
def test_spectrum_is_that_of_the_fast_transform(side: int) -> None:
    matrices = SpectrumMatrices(side)
    pixels = numbers(2, side * side, 3)
    expected = torch.fft.rfft2(pixels.view(2, side, side, 3), dim=(1, 2), norm="ortho").flatten(0, 1)
    found = matrices.to_frequencies(pixels)
    torch.testing.assert_close(found, torch.cat([expected.real, expected.imag], -1), **CLOSE)
    # Any numbers, not only a spectrum that real pixels have: the network changes it.
    changed = numbers(2 * side, matrices.columns, 6, seed=1)
    values = torch.complex(*changed.chunk(2, -1)).unflatten(0, (2, side))
    expected = torch.fft.irfft2(values, s=(side, side), dim=(1, 2), norm="ortho").flatten(1, 2)
    torch.testing.assert_close(matrices.to_pixels(changed, 2), expected, **CLOSE)


@pytest.mark.parametrize("processor", [False, True])
def test_doubling_folded_into_the_convolution(processor: bool) -> None:
    layer = filled(DoubledConvolution(6, 5))
    assert isinstance(layer, DoubledConvolution)
    x = picture(1 if processor else 2, 6, 8, 8)
    expected = layer(x)
    torch.testing.assert_close(FoldedDoubling(layer, 8, processor)(x), expected, **CLOSE)


def test_final_convolution_by_columns() -> None:
    layer = filled(FinalConvolution(6, 3))
    assert isinstance(layer, FinalConvolution)
    x = picture(2, 6, 96, 96)
    torch.testing.assert_close(FoldedFinal(layer, processor=False)(x), layer(x), **CLOSE)


@pytest.mark.parametrize("processor", [False, True])
def test_fourier_layer_folded(processor: bool) -> None:
    layer = filled(FourierLayer(32, 16))
    assert isinstance(layer, FourierLayer)
    count = 1 if processor else 2
    x, speech = picture(count, 32, 8, 8), numbers(count, 16, seed=1)
    expected = layer(x, speech)
    before = x.clone()
    found = FoldedFourierLayer(layer, SpectrumMatrices(8), processor)(x, speech)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert torch.equal(x, before)


def test_norms_are_exact_where_channels_lie_last() -> None:
    # torch's own norms are off by up to 1e-5 in this memory order, and the blocks behind enlarge it.
    x = picture(1, 128, 48, 48) * 2 + 0.5
    norm = PictureNorm(128).requires_grad_(False)
    nn.init.ones_(norm.weight), nn.init.zeros_(norm.bias)
    exact = functional.layer_norm(x.double(), x.shape[1:])
    torch.testing.assert_close(norm(x).double(), exact, rtol=0, atol=2e-6)
    exact = functional.instance_norm(x.double())
    centred = x.clone()
    factor = centre_channels_(centred)
    torch.testing.assert_close((centred * factor).double(), exact, rtol=0, atol=2e-6)


def test_packed_convolution_is_the_plain_one() -> None:
    weight, bias, x = numbers(8, 3, 3, 3), numbers(8, seed=1), picture(1, 6, 10, 10)
    convolution = PackedConvolution(weight, bias, (1, 1), groups=2)
    expected = functional.conv2d(x, weight, bias, padding=1, groups=2)
    torch.testing.assert_close(convolution(x), expected, **CLOSE)
    if convolution.pack(10, 10):
        assert convolution.weight is None
    torch.testing.assert_close(convolution(x), expected, **CLOSE)
