"""D-Net against the published numbers, and the cheaper forms of its layers against the plain ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.errors import WeightsError
from retalkit.weights.load import read_checkpoint
from retalkit_renderers.dnet.interface import CHECKPOINTS
from safetensors.numpy import load_file

from tests.pseudo_weights import load_module, manifest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.inference import computing, load_weights
from retalkit_renderers.dnet.convolutions import convolve_doubled, convolve_to_few
from retalkit_renderers.dnet.network import DNet
from retalkit_renderers.dnet.norms import AdaptiveNorm, WholeNorm
from torch.nn import functional

CHECKPOINT = CHECKPOINTS[0]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def known(shared_parity: Path) -> dict[str, NDArray[Any]]:
    with np.load(shared_parity / "dnet.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def inputs(shared_parity: Path) -> list[Any]:
    made = load_module(shared_parity / "inputs.py").make("dnet")
    return [torch.from_numpy(made[name]) for name in ("input_image", "driving_source")]


@pytest.fixture(scope="module")
def network(pseudo_weights: Callable[[str], Path]) -> DNet:
    return load_weights(DNet(), pseudo_weights("dnet"))


@pytest.fixture(scope="module")
def outputs(network: DNet, inputs: list[Any]) -> dict[str, NDArray[Any]]:
    with torch.inference_mode():
        found = network(*inputs)
    return {"flow_field": found.flow.numpy(), "warp_image": found.warped.numpy(), "fake_image": found.image.numpy()}


def test_the_parameters_are_the_published_ones(shared_parity: Path) -> None:
    known = {name: tuple(shape) for name, (shape, _) in manifest(shared_parity, "dnet")["state_dict"].items()}
    assert CHECKPOINT.expected_shapes() == known


def test_the_descriptor_is_the_published_one(network: DNet, inputs: list[Any], known: dict[str, Any]) -> None:
    with torch.inference_mode():
        found = network.mapping_net(inputs[1]).numpy()
    # Its numbers go up to 160, since places in pixels go into it.
    assert np.abs(found - known["mid_descriptor"]).max() <= TOLERANCE


@pytest.mark.parametrize("name", ["flow_field", "warp_image", "fake_image"])
def test_the_outputs_are_the_published_ones(outputs: dict[str, Any], known: dict[str, Any], name: str) -> None:
    found, step = outputs[name], int(known[f"{name}__stride"])
    assert np.abs(found[..., ::step, ::step] - known[name]).max() <= TOLERANCE
    if step > 1:
        assert np.abs(found[..., :16, :16] - known[f"{name}__tl16"]).max() <= TOLERANCE
        assert np.abs(found[..., -16:, -16:] - known[f"{name}__br16"]).max() <= TOLERANCE
    statistics = np.array([found.mean(), found.std(ddof=1), found.min(), found.max()])
    assert np.abs(statistics - known[f"{name}__stats"]).max() <= TOLERANCE


def test_what_the_published_network_throws_away_is_not_computed(
    pseudo_weights: Callable[[str], Path], inputs: list[Any], outputs: dict[str, Any]
) -> None:
    network = load_weights(DNet(), pseudo_weights("dnet"))
    thrown = [name for name, _ in network.named_parameters() if ".conv1." in name or ".norm1." in name]
    assert len(thrown) == 6 * 8
    for name in thrown:
        network.get_parameter(name).fill_(float("nan"))
    with torch.inference_mode():
        found = network(*(x[:1] for x in inputs)).image.numpy()
    assert np.abs(found - outputs["fake_image"][:1]).max() <= TOLERANCE


def test_half_precision_runs(network: DNet, inputs: list[Any], outputs: dict[str, Any]) -> None:
    with computing("cpu", "bfloat16"):
        found = network(*(x[:1] for x in inputs)).image.float().numpy()
    assert np.abs(found - outputs["fake_image"][:1]).mean() < 0.1


# ------------------------------------------------------------------------------ its layers


def test_doubling_and_convolving_is_one_step() -> None:
    generator = torch.Generator().manual_seed(1)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((2, 5, 7, 9), (4, 5, 3, 3), (4,)))
    plain = functional.conv2d(functional.interpolate(x, scale_factor=2), weight, bias, padding=1)
    torch.testing.assert_close(convolve_doubled(x, weight, bias), plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [3, 7])
def test_few_channels_are_convolved_row_by_row(size: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((2, 5, 8, 6), (3, 5, size, size), (3,)))
    plain = functional.conv2d(x, weight, bias, padding=size // 2)
    torch.testing.assert_close(convolve_to_few(x, weight, bias), plain, rtol=1e-5, atol=1e-4)


def test_norms_keep_their_digits_where_a_mean_is_large() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn((2, 32, 128, 128), generator=generator) + 30 * torch.randn((1, 32, 1, 1), generator=generator)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        adaptive = AdaptiveNorm(32, 8)
        descriptor = torch.randn((2, 8), generator=generator)
        hidden = adaptive.mlp_shared(descriptor)
        factor, offset = (part(hidden)[..., None, None].double() for part in (adaptive.mlp_gamma, adaptive.mlp_beta))
        wanted = functional.instance_norm(x.double()) * (1 + factor) + offset
        kept = x.clone()
        assert (adaptive(x, descriptor, keep=True) - wanted).abs().max() < 1e-4
        assert torch.equal(x, kept)
        whole = WholeNorm(32)
        wanted = functional.layer_norm(x.double(), x.shape[1:])
        assert (whole(x) - wanted).abs().max() < 1e-5


# ------------------------------------------------------------------------------ its file


def published_file(path: Path, weights: dict[str, Any], **others: Any) -> Path:
    """A file as the training wrote it."""
    entries = {"net_G": {name: value * 0 for name, value in weights.items()}, "net_G_ema": weights}
    torch.save({**entries, "opt_G": {"state": {}}, "current_epoch": 3, "current_iteration": 9, **others}, path)
    return path


@pytest.fixture(scope="module")
def weights(pseudo_weights: Callable[[str], Path]) -> dict[str, Any]:
    return {name: torch.from_numpy(array) for name, array in load_file(pseudo_weights("dnet")).items()}


def test_the_mean_weights_of_a_published_file_are_taken(tmp_path: Path, weights: dict[str, Any]) -> None:
    found = read_checkpoint(published_file(tmp_path / "DNet.pt", weights), CHECKPOINT)
    assert set(found) == set(weights)
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_file_with_a_parameter_less_or_more_is_refused_with_its_name(tmp_path: Path, weights: dict[str, Any]) -> None:
    gone = "editing_net.decoder.res0.res0.conv1.bias"
    less = {name: value for name, value in weights.items() if name != gone}
    with pytest.raises(WeightsError, match=f"missing {gone}"):
        read_checkpoint(published_file(tmp_path / "less.pt", less), CHECKPOINT)
    more = {**weights, "editing_net.extra.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"unexpected editing_net\.extra\.weight"):
        read_checkpoint(published_file(tmp_path / "more.pt", more), CHECKPOINT)
