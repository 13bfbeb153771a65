"""The published networks can be trained: gradients reach every parameter that the output depends on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit_enhancers.enet.network import NOISE_SIZES, ENet
from retalkit_enhancers.ganimation.generator import Generator as Ganimation
from retalkit_enhancers.gfpgan.generator import NOISE_SIZES as GFPGAN_NOISE_SIZES
from retalkit_enhancers.gfpgan.network import Gfpgan
from retalkit_enhancers.gpen.network import Gpen
from retalkit_enhancers.parsing.network import ParseNet
from retalkit_reconstructors.deep3d.network import CoefficientNetwork
from retalkit_renderers.dnet.network import DNet
from retalkit_renderers.lnet.network import LNet
from retalkit_renderers.wav2lip.network import Wav2LipGenerator


def noise(sizes: tuple[int, ...]) -> list[Any]:
    return [torch.randn(1, 1, size, size) for size in sizes]


CASES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], str]] = {
    # Network, its output, and a pattern of parameters that the published forward pass does not use.
    "dnet": (
        DNet,
        lambda network: network(torch.rand(1, 3, 64, 64), torch.randn(1, 73, 26)).image,
        r"editing_net\.decoder\.res\d\.res\d\.(conv1|norm1)\.",
    ),
    "lnet": (LNet, lambda network: network(torch.randn(2, 1, 80, 16), torch.rand(2, 6, 96, 96)), "none"),
    "wav2lip": (
        Wav2LipGenerator,
        lambda network: network(torch.randn(2, 1, 80, 16), torch.rand(2, 6, 96, 96)),
        "none",
    ),
    "enet": (
        ENet,
        lambda network: network(torch.rand(1, 3, 96, 96), torch.rand(1, 3, 64, 64), noise(NOISE_SIZES)),
        "none",
    ),
    "gpen": (Gpen, lambda network: network(torch.rand(1, 3, 512, 512)), "none"),
    "gfpgan": (
        Gfpgan,
        lambda network: network(torch.rand(1, 3, 512, 512), noise(GFPGAN_NOISE_SIZES)),
        r"toRGB\.|stylegan_decoder\.style_mlp\.",
    ),
    "parsenet": (ParseNet, lambda network: network(torch.rand(1, 3, 64, 64)), r"out_img_conv\."),
    "ganimation": (
        Ganimation,
        lambda network: network(torch.rand(1, 3, 32, 32), torch.rand(1, 17)).blend(torch.rand(1, 3, 32, 32)),
        "none",
    ),
    "face3d": (CoefficientNetwork, lambda network: network(torch.rand(2, 3, 64, 64)), "none"),
}


@pytest.mark.parametrize("name", CASES)
def test_every_used_parameter_receives_a_gradient(name: str) -> None:
    make, run, unused = CASES[name]
    # The meta device records the graph without computing anything.
    with torch.device("meta"):
        network = make().train()
        run(network).square().mean().backward()
    without = [key for key, value in network.named_parameters() if value.grad is None]
    assert [key for key in without if not re.match(unused, key)] == []
    assert unused == "none" or without


@pytest.mark.parametrize("name", ["dnet", "wav2lip", "parsenet", "ganimation"])
def test_gradients_of_a_new_network_are_finite(name: str) -> None:
    make, run, _ = CASES[name]
    torch.manual_seed(0)
    network = make().train()
    run(network).square().mean().backward()
    gradients = [value.grad for value in network.parameters() if value.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients) > 0.9 * len(gradients)
