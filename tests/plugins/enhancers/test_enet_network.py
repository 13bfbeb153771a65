"""E-Net against the numbers of the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError
from retalkit.inference import load_weights
from retalkit.weights.load import read_checkpoint
from retalkit_enhancers.convolutions.doubling import upsampled_convolution
from retalkit_enhancers.enet.interface import CHECKPOINTS
from retalkit_enhancers.enet.network import NOISE_SIZES, ENet, parameter_shapes
from torch.nn import functional

from tests.pseudo_weights import load_module, manifest

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> dict[str, np.ndarray]:
    with np.load(shared_parity / "enet.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def network(pseudo_weights: Callable[[str], Path]) -> ENet:
    return load_weights(ENet(), pseudo_weights("enet")).arrange()


@pytest.fixture(scope="module")
def low(published: dict[str, np.ndarray]) -> Any:
    """What the L-Net inside the published module gave."""
    assert published["low_res__stride"] == 1
    return torch.from_numpy(published["low_res"])


@pytest.fixture(scope="module")
def codes(network: ENet, shared_parity: Path) -> Any:
    inputs = load_module(shared_parity / "inputs.py").make("enet")
    with torch.inference_mode():
        return network.encode(torch.from_numpy(inputs["gt_sequences"]))


def agree(result: np.ndarray, published: dict[str, np.ndarray], name: str) -> None:
    stride = int(published[f"{name}__stride"])
    np.testing.assert_allclose(result[..., ::stride, ::stride], published[name], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(result[..., :16, :16], published[f"{name}__tl16"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(result[..., -16:, -16:], published[f"{name}__br16"], rtol=0, atol=TOLERANCE)
    mean, deviation, least, most = published[f"{name}__stats"]
    measured = (result.mean(dtype=np.float64), result.std(dtype=np.float64, ddof=1), result.min(), result.max())
    np.testing.assert_allclose(measured, (mean, deviation, least, most), rtol=0, atol=TOLERANCE)


def test_names_and_shapes_are_the_published_ones_without_lnet(shared_parity: Path) -> None:
    entries = manifest(shared_parity, "enet")["state_dict"]
    expected = {name: tuple(shape) for name, (shape, _) in entries.items() if not name.startswith("low_res.")}
    assert parameter_shapes() == expected
    assert {name: tuple(value.shape) for name, value in ENet().state_dict().items()} == expected


def test_the_identity_code(codes: Any, published: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(codes.numpy(), published["mid_style_code"], rtol=0, atol=TOLERANCE)


def test_the_face(
    network: ENet, low: Any, codes: Any, published: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not network.is_noisy
    # The codes are the encoder's own, which need not be computed twice.
    monkeypatch.setattr(network, "encode", lambda references: codes[: len(references)])
    with torch.inference_mode():
        result = network(low, torch.zeros(2, 3, 384, 384)).numpy()
        assert network(low[:0], torch.zeros(0, 3, 384, 384)).shape == (0, 3, 384, 384)
    assert result.shape == (2, 3, 384, 384)
    agree(result, published, "pred")


def test_the_face_with_noise(network: ENet, low: Any, codes: Any, published: dict[str, np.ndarray]) -> None:
    torch.manual_seed(0)
    noise = [torch.empty(2, 1, size, size).normal_() for size in NOISE_SIZES]
    strengths = {name: value.clone() for name, value in network.state_dict().items() if value.shape == (1,)}
    assert len(strengths) == 4
    try:
        network.load_state_dict({name: torch.full((1,), 0.1) for name in strengths}, strict=False)
        assert network.is_noisy
        with torch.inference_mode():
            faces = [
                network.decode(low[[row]], network.fold(codes[row]), [each[[row]] for each in noise]) for row in (0, 1)
            ]
    finally:
        network.load_state_dict(strengths, strict=False)
    agree(torch.cat(faces).numpy(), published, "pred_noise01")


def test_upsampling_and_convolving_change_places() -> None:
    generator = torch.Generator().manual_seed(5)
    values = torch.randn(2, 5, 12, 17, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 5, 3, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(4, generator=generator, dtype=torch.float64)
    doubled = functional.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)
    expected = functional.conv2d(doubled, weight, bias, padding=1)[..., 3:-3, 3:-3]
    result = upsampled_convolution(values, weight, bias)
    assert result.shape == (2, 4, 18, 28)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def test_a_published_file_is_understood(tmp_path: Path) -> None:
    # Of a tensor that repeats one number only that number is written.
    entries = {f"module.{name}": torch.zeros(1).expand(shape) for name, shape in parameter_shapes().items()}
    entries["module.low_res.encoder.first_inp.model.0.bias"] = torch.zeros(64)
    file = tmp_path / "ENet.pth"
    torch.save({"state_dict": entries, "global_step": 5}, file)
    assert set(read_checkpoint(file, CHECKPOINTS[0])) == set(parameter_shapes())

    del entries["module.final_conv.bias"]
    entries["module.final_conv.skew"] = torch.zeros(3)
    torch.save({"state_dict": entries}, file)
    with pytest.raises(WeightsError, match=r"missing final_conv\.bias.*unexpected final_conv\.skew"):
        read_checkpoint(file, CHECKPOINTS[0])
