"""E-Net compared with the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError
from retalkit.inference import empty_network, load_weights
from retalkit.weights.load import read_checkpoint
from retalkit_enhancers.enet.interface import CHECKPOINTS
from retalkit_enhancers.enet.network import NOISE_SIZES, ENet, parameter_shapes
from retalkit_enhancers.stylegan2 import ModulatedConvolution, UpsampledConvolution, upsample
from torch import nn

from tests.parity import TOLERANCE, Published


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> Published:
    return Published(shared_parity, "enet")


@pytest.fixture(scope="module")
def network(pseudo_weights: Callable[[str], Path]) -> ENet:
    return load_weights(empty_network(ENet), pseudo_weights("enet"))


@pytest.fixture(scope="module")
def low(published: Published) -> Any:
    """The output of the L-Net inside the published module."""
    assert published.outputs["low_res__stride"] == 1
    return torch.from_numpy(published.outputs["low_res"])


def test_parameters_match_the_published_ones_without_lnet(published: Published) -> None:
    expected = {name: shape for name, shape in published.shapes.items() if not name.startswith("low_res.")}
    assert parameter_shapes() == expected


def test_faces_match_published(network: ENet, low: Any, published: Published) -> None:
    assert not network.is_noisy
    with torch.inference_mode():
        codes = network.encode(torch.from_numpy(published.inputs["gt_sequences"]))
        published.check(codes.numpy(), "mid_style_code")
        published.check(network.decode(low, codes).numpy(), "pred")


@pytest.mark.slow
def test_a_face_does_not_depend_on_the_batch(network: ENet, low: Any, published: Published) -> None:
    codes = torch.from_numpy(published.outputs["mid_style_code"])
    with torch.inference_mode():
        alone = network.decode(low[1:], codes[1:])
    stride = int(published.outputs["pred__stride"])
    expected = published.outputs["pred"][1:]
    np.testing.assert_allclose(alone.numpy()[..., ::stride, ::stride], expected, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_faces_with_noise_match_published(network: ENet, low: Any, published: Published) -> None:
    codes = torch.from_numpy(published.outputs["mid_style_code"])
    torch.manual_seed(0)
    noise = [torch.empty(2, 1, size, size).normal_() for size in NOISE_SIZES]
    strengths = {name: value.clone() for name, value in network.state_dict().items() if value.shape == (1,)}
    assert len(strengths) == 4
    try:
        network.load_state_dict({name: torch.full((1,), 0.1) for name in strengths}, strict=False)
        assert network.is_noisy
        with torch.inference_mode():
            published.check(network.decode(low, codes, noise).numpy(), "pred_noise01")
    finally:
        network.load_state_dict(strengths, strict=False)


def test_upsampled_convolution_equals_the_two_steps_except_at_the_border() -> None:
    torch.manual_seed(5)
    plain = ModulatedConvolution(nn.Linear(8, 5), 5, 4, 3).double()
    fast = UpsampledConvolution(nn.Linear(8, 5), 5, 4, 3).double()
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(2, 5, 12, 17, dtype=torch.float64)
    with torch.no_grad():
        expected, result = plain.convolve(upsample(x)), fast.convolve(x)
    assert result.shape == (2, 4, 24, 34)
    torch.testing.assert_close(result[..., 3:-3, 3:-3], expected[..., 3:-3, 3:-3], rtol=0, atol=1e-12)


def test_a_published_file_is_read(tmp_path: Path) -> None:
    # An expanded tensor is stored as a single number.
    entries = {f"module.{name}": torch.zeros(1).expand(shape) for name, shape in parameter_shapes().items()}
    entries["module.low_res.encoder.first_inp.model.0.bias"] = torch.zeros(64)
    file = tmp_path / "ENet.pth"
    torch.save({"state_dict": entries, "global_step": 5}, file)
    assert set(read_checkpoint(file, CHECKPOINTS[0])) == set(parameter_shapes())

    del entries["module.final_conv.bias"]
    entries["module.final_conv.skew"] = torch.zeros(3)
    torch.save({"state_dict": entries}, file)
    with pytest.raises(WeightsError, match=r"final_conv\.bias.*final_conv\.skew"):
        read_checkpoint(file, CHECKPOINTS[0])
