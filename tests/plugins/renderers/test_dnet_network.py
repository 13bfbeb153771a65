"""D-Net compared with the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retalkit.errors import WeightsError
from retalkit.weights.load import read_checkpoint
from retalkit_renderers.dnet.interface import CHECKPOINTS
from safetensors.numpy import load_file

from tests.parity import TOLERANCE, Published

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.inference import computing, empty_network, load_weights
from retalkit_renderers.dnet.network import DNet, DNetOutput
from retalkit_renderers.dnet.norms import AdaptiveInstanceNorm
from retalkit_renderers.layer_norm import LayerNorm2d
from torch.nn import functional

CHECKPOINT = CHECKPOINTS[0]


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> Published:
    return Published(shared_parity, "dnet")


@pytest.fixture(scope="module")
def inputs(published: Published) -> list[Any]:
    return [torch.from_numpy(published.inputs[name]) for name in ("input_image", "driving_source")]


@pytest.fixture(scope="module")
def network(pseudo_weights: Callable[[str], Path]) -> DNet:
    return load_weights(empty_network(DNet), pseudo_weights("dnet"))


@pytest.fixture(scope="module")
def output(network: DNet, inputs: list[Any]) -> DNetOutput:
    with torch.inference_mode():
        return network(*inputs)


def test_parameters_match_the_published_checkpoint(published: Published) -> None:
    assert CHECKPOINT.expected_shapes() == published.shapes


def test_descriptor_matches_published(network: DNet, inputs: list[Any], published: Published) -> None:
    with torch.inference_mode():
        # Values up to 160, because the inputs contain positions in pixels.
        published.check(network.mapping_net(inputs[1]).numpy(), "mid_descriptor")


def test_outputs_match_published(output: DNetOutput, published: Published) -> None:
    published.check(output.flow.numpy(), "flow_field")
    published.check(output.warped.numpy(), "warp_image")
    published.check(output.image.numpy(), "fake_image")


def test_unused_parameters_do_not_affect_the_output(
    pseudo_weights: Callable[[str], Path], inputs: list[Any], output: DNetOutput
) -> None:
    network = load_weights(empty_network(DNet), pseudo_weights("dnet"))
    unused = [name for name, _ in network.named_parameters() if ".conv1." in name or ".norm1." in name]
    assert len(unused) == 6 * 8
    for name in unused:
        network.get_parameter(name).fill_(float("nan"))
    with torch.inference_mode():
        image = network(*(x[:1] for x in inputs)).image
    assert float((image - output.image[:1]).abs().max()) <= TOLERANCE


@pytest.mark.usefixtures("bfloat16_instructions")
def test_bfloat16_is_close(network: DNet, inputs: list[Any], output: DNetOutput) -> None:
    with computing("cpu", "bfloat16"):
        image = network(*(x[:1] for x in inputs)).image.float()
    assert float((image - output.image[:1]).abs().mean()) < 0.1


def test_normalisation_is_accurate_for_large_means_and_channels_last() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn((2, 32, 128, 128), generator=generator) + 30 * torch.randn((1, 32, 1, 1), generator=generator)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        adaptive = AdaptiveInstanceNorm(32, 8)
        descriptor = torch.randn((2, 8), generator=generator)
        hidden = adaptive.mlp_shared(descriptor)
        scale, shift = (part(hidden)[..., None, None].double() for part in (adaptive.mlp_gamma, adaptive.mlp_beta))
        expected = functional.instance_norm(x.double()) * (1 + scale) + shift
        assert (adaptive(x, descriptor) - expected).abs().max() < 1e-4
        expected = functional.layer_norm(x.double(), x.shape[1:])
        assert (LayerNorm2d(32)(x) - expected).abs().max() < 1e-5


def published_file(path: Path, weights: dict[str, Any], **others: Any) -> Path:
    """A file as the published training wrote it."""
    entries = {"net_G": {name: value * 0 for name, value in weights.items()}, "net_G_ema": weights}
    torch.save({**entries, "opt_G": {"state": {}}, "current_epoch": 3, "current_iteration": 9, **others}, path)
    return path


@pytest.fixture(scope="module")
def weights(pseudo_weights: Callable[[str], Path]) -> dict[str, Any]:
    return {name: torch.from_numpy(array) for name, array in load_file(pseudo_weights("dnet")).items()}


def test_averaged_weights_of_a_published_file_are_read(tmp_path: Path, weights: dict[str, Any]) -> None:
    found = read_checkpoint(published_file(tmp_path / "DNet.pt", weights), CHECKPOINT)
    assert set(found) == set(weights)
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


def test_missing_and_unexpected_parameters_are_reported(tmp_path: Path, weights: dict[str, Any]) -> None:
    missing = "editing_net.decoder.res0.res0.conv1.bias"
    less = {name: value for name, value in weights.items() if name != missing}
    with pytest.raises(WeightsError, match=missing):
        read_checkpoint(published_file(tmp_path / "less.pt", less), CHECKPOINT)
    more = {**weights, "editing_net.extra.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"editing_net\.extra\.weight"):
        read_checkpoint(published_file(tmp_path / "more.pt", more), CHECKPOINT)
