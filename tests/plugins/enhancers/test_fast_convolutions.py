"""Convolutions with fewer products give what plain ones give."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit_enhancers.convolutions import fast, nearest, winograd
from retalkit_enhancers.convolutions.fast import Convolution, convolve, ready
from retalkit_enhancers.convolutions.scratch import Scratch
from torch.nn import functional


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("chunk", [1, 1 << 16, 1 << 30])
def test_tiles_give_the_plain_convolution(padding: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # From one row of tiles at a time over a number that does not divide their count to all at once.
    monkeypatch.setattr(winograd, "_CHUNK_BYTES", chunk)
    values = numbers(2, 6, 46 - 2 * padding, 38 - 2 * padding).contiguous(memory_format=torch.channels_last)
    weight, bias = numbers(5, 6, 3, 3, seed=1), numbers(5, seed=2)
    result = winograd.convolve(values, winograd.transformed(weight), bias, padding)
    assert result.shape == (2, 5, 44, 36)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, functional.conv2d(values, weight, bias, padding=padding), rtol=0, atol=1e-11)


def test_float32_loses_no_more_than_a_plain_convolution() -> None:
    values = numbers(1, 128, 64, 64).float().contiguous(memory_format=torch.channels_last)
    weight = (numbers(64, 128, 3, 3, seed=1) / (128 * 9) ** 0.5).float()
    exact = functional.conv2d(values.double(), weight.double(), padding=1)
    result = winograd.convolve(values, winograd.transformed(weight), None, 1)
    assert float((result - exact).abs().max()) < 3e-5


@pytest.mark.parametrize("chunk", [1, 1 << 15, 1 << 30])
def test_tiles_with_mirrored_borders_give_the_plain_convolution(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_CHUNK_BYTES", chunk)
    picture, weight, bias = numbers(44, 36, 6), numbers(5, 6, 3, 3, seed=1), numbers(5, seed=2)
    matrices, scratch = winograd.transformed(weight), Scratch()
    padded = functional.pad(picture.permute(2, 0, 1)[None], (1, 1, 1, 1), "reflect")
    expected = functional.conv2d(padded, weight, bias)[0].permute(1, 2, 0)
    # A part of a larger picture, in two bands, with a ReLU.
    target = numbers(45, 37, 5)[1:, 1:]
    for first, last in ((0, 16), (16, 44)):
        winograd.draw(picture, matrices, bias, target[first:last], scratch, first, 0.2)
    torch.testing.assert_close(target, functional.leaky_relu(expected, 0.2), rtol=0, atol=1e-11)
    target = numbers(44, 36, 5, seed=3)
    before = target.clone()
    winograd.draw_upon(picture, matrices, target, scratch)
    torch.testing.assert_close(target, before + expected - bias, rtol=0, atol=1e-11)


@pytest.mark.parametrize("chunk", [1, 1 << 15, 1 << 30])
@pytest.mark.parametrize("height", [1, 2, 11])
def test_doubled_pixels_give_the_plain_convolution(chunk: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_CHUNK_BYTES", chunk)
    picture, weight, bias = numbers(height, 7, 6), numbers(5, 6, 3, 3, seed=1), numbers(5, seed=2)
    target = numbers(2 * height, 14, 5)
    nearest.draw(picture, nearest.ready(weight), bias, target, Scratch())
    doubled = functional.interpolate(picture.permute(2, 0, 1)[None], scale_factor=2, mode="nearest")
    expected = functional.conv2d(functional.pad(doubled, (1, 1, 1, 1), "reflect"), weight, bias)
    torch.testing.assert_close(target, expected[0].permute(1, 2, 0), rtol=0, atol=1e-11)


def test_scratch_gives_separate_memory_of_the_wanted_type() -> None:
    scratch = Scratch()
    for dtype in (torch.float32, torch.float64):
        first, second = scratch.take(torch.zeros(1, dtype=dtype), (3, 5), (2, 2))
        first.fill_(1)
        second.fill_(2)
        assert (first.dtype, float(first.sum()), float(second.sum())) == (dtype, 15, 8)
    assert scratch.take(first, (2,))[0].data_ptr() == first.data_ptr()


def test_it_is_used_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[int, ...]] = []
    plain = winograd.convolve

    def noted(values: torch.Tensor, *arguments: object) -> torch.Tensor:
        used.append(tuple(values.shape[2:]))
        return plain(values, *arguments)

    monkeypatch.setattr(winograd, "convolve", noted)
    narrow = numbers(4, 8, 3, 3).float()
    assert ready(narrow).matrices is None
    monkeypatch.setattr(fast, "_LEAST_CHANNELS", 4)
    weight, bias = numbers(4, 4, 3, 3).float(), numbers(4).float()
    for size, padding in ((32, 1), (34, 0), (28, 1), (35, 1)):
        values = numbers(1, 4, size, size, seed=3).float()
        expected = functional.conv2d(values, weight, bias, padding=padding)
        torch.testing.assert_close(convolve(values, ready(weight), bias, padding), expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(
            convolve(values, ready(weight, large=False), bias, padding), expected, rtol=0, atol=1e-4
        )
    assert used == [(32, 32), (34, 34)]
    with torch.autocast("cpu", torch.bfloat16):
        assert convolve(numbers(1, 4, 32, 32).float(), ready(weight), bias, 1).dtype == torch.bfloat16


def test_a_layer_is_the_same_before_and_after_its_weights_are_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "_LEAST_CHANNELS", 4)
    torch.manual_seed(1)
    layer = Convolution(4, 6, large=True)
    values = numbers(1, 4, 48, 36).float().contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        before = layer(values)
        names = set(layer.state_dict())
        layer.arrange()
        assert set(layer.state_dict()) == names == {"weight", "bias"}
        torch.testing.assert_close(layer(values), before, rtol=0, atol=1e-5)
