"""D-Net's training steps compared with PIRender's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit_renderers.dnet.network import DNet
from retalkit_training.averaging import PUBLISHED_DECAY, update_average
from retalkit_training.losses.config import DNET_REPRODUCTION, DNetLossConfig, PerceptualConfig
from retalkit_training.losses.dnet import DNetLoss
from retalkit_training.losses.perceptual import PerceptualLoss
from retalkit_training.networks.staged_dnet import DNetPrediction, StagedDNet, both_directions, initialise_dnet
from retalkit_training.networks.vgg import VggFeatures

from tests.training.references import LATER_LOSS, References


@pytest.fixture(scope="module")
def published(references: Callable[[str], References]) -> References:
    return references("dnet_training")


def make_loss(published: References, scales: int) -> DNetLoss:
    default = DNetLossConfig()
    config = DNetLossConfig(
        warp=default.warp.model_copy(update={"scales": scales}),
        final=default.final.model_copy(update={"scales": scales}),
    )
    features = published.fill(VggFeatures("vgg19", config.warp.layers), "vgg")
    return DNetLoss(config, PerceptualLoss(config.warp, features), PerceptualLoss(config.final, features))


def batch(published: References, prefix: str = "", **sizes: int) -> Any:
    inputs = published.inputs("dnet", prefix, **sizes)
    return both_directions(
        inputs["source_image"], inputs["target_image"], inputs["source_semantics"], inputs["target_semantics"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["warp", "gen"])
def test_adam_steps_match_published(stage: Any, published: References) -> None:
    network = published.fill(DNet())
    model, average = StagedDNet(network).train(), copy.deepcopy(network)
    loss = make_loss(published, 3)
    images, coefficients, targets = batch(published)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.5, 0.999))
    totals: list[float] = []
    parts: list[tuple[float, float]] = []
    for step in range(4):
        prediction = model(images, coefficients, stage)
        value = loss(prediction, targets)
        totals.append(value.total.item())
        final = 4 * value.terms["final"].item() if stage == "gen" else 0.0
        parts.append((final, 2.5 * value.terms["warp"].item()))
        if step == 3:
            break
        optimiser.zero_grad()
        value.total.backward()
        if step == 0:
            np.testing.assert_allclose(
                prediction.warped.detach()[..., ::4, ::4], published[f"{stage}_warp"], rtol=0, atol=1e-4
            )
            if stage == "gen":
                np.testing.assert_allclose(
                    prediction.image.detach()[..., ::4, ::4], published["gen_fake"], rtol=0, atol=1e-4
                )
            # The style loss is so large that gradients of 0 cannot be recognised by their norm in stage "gen".
            rounding = published.rounding_names("warp")
            published.check_gradients(network.named_parameters(), stage, without=rounding)
            missing = {name for name, value in network.named_parameters() if value.grad is None}
            assert missing == set(published[f"{stage}_grad_none"].tolist())
        optimiser.step()
        update_average(average, network)
    expected = published[f"{stage}_losses"]
    np.testing.assert_allclose(totals[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(totals, expected, rtol=LATER_LOSS)
    np.testing.assert_allclose(parts[0], published[f"{stage}_final_warp_parts"][0], rtol=1e-5)
    np.testing.assert_allclose(parts, published[f"{stage}_final_warp_parts"], rtol=LATER_LOSS)
    published.check_state(network.state_dict(), f"{stage}_after3", 1e-3, without=rounding)
    published.check_state(average.state_dict(), f"{stage}_ema3", 1e-5, without=rounding)


@pytest.mark.slow
def test_loss_at_the_published_size_matches(published: References) -> None:
    network = published.fill(DNet())
    images, coefficients, targets = batch(published, "s256_", size=256)
    value = make_loss(published, 4)(StagedDNet(network)(images, coefficients, "gen"), targets)
    published.check_loss(value.total, "s256_gen_loss")
    parts = [4 * value.terms["final"], 2.5 * value.terms["warp"]]
    np.testing.assert_allclose(parts, published["s256_gen_final_warp"], rtol=1e-5)
    value.total.backward()
    norms = [parameter.grad.norm() for parameter in network.parameters() if parameter.grad is not None]
    np.testing.assert_allclose(torch.stack(norms).norm(), published["s256_gen_grad_total_norm"], rtol=0.01)


def test_stages_differ_in_their_terms() -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 1, 3, 64, 64) * 2 - 1
    features = VggFeatures("vgg16", ["relu_1_1"])
    warp = PerceptualConfig(network="vgg16", layers=("relu_1_1",))
    final = warp.model_copy(update={"style_weight": 250.0})
    config = DNetLossConfig(warp=warp, final=final)
    loss = DNetLoss(config, PerceptualLoss(warp, features), PerceptualLoss(final, features))
    first = loss(DNetPrediction(images[0], None), images[1])
    assert list(first.terms) == ["warp"]
    torch.testing.assert_close(first.total, 2.5 * loss.warp(images[0], images[1]))
    second = loss(DNetPrediction(images[0], images[2]), images[1])
    torch.testing.assert_close(second.total, first.total + 4 * loss.final(images[2], images[1]))


def test_reproduction_compares_edited_images_only() -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 1, 3, 32, 32) * 2 - 1
    config = DNET_REPRODUCTION
    perceptual = PerceptualLoss(config.final, VggFeatures("vgg16", config.final.layers))
    loss = DNetLoss(config, perceptual, perceptual)
    value = loss(DNetPrediction(images[0], images[2]), images[1])
    torch.testing.assert_close(value.total, perceptual(images[2], images[1]))
    with pytest.raises(ValueError, match="all loss weights are 0"):
        loss(DNetPrediction(images[0], None), images[1])


def test_staged_network_equals_the_network_of_the_stage() -> None:
    torch.manual_seed(0)
    network = DNet().eval()
    images, coefficients = torch.rand(1, 3, 64, 64) * 2 - 1, torch.randn(1, 73, 26)
    with torch.no_grad():
        expected = network(images, coefficients)
        warped = StagedDNet(network)(images, coefficients, "warp")
        both = StagedDNet(network)(images, coefficients, "gen")
    assert warped.image is None
    assert torch.equal(warped.warped, expected.warped)
    assert torch.equal(both.image, expected.image)


def test_initial_weights_are_those_of_pirender() -> None:
    torch.manual_seed(0)
    network = DNet()
    initialise_dnet(network)
    convolution = network.editing_net.encoder.down1.model[0]
    assert abs(convolution.weight.std().item() - 0.02) < 1e-4
    assert not bool(convolution.bias.any())
    # Layer norms keep their weights.
    assert bool((network.editing_net.encoder.down1.model[1].weight == 1).all())


def test_average_starts_with_the_initial_parameters() -> None:
    network = torch.nn.Linear(1, 1)
    average = copy.deepcopy(network)
    with torch.no_grad():
        network.weight += 1
    update_average(average, network, 0.75)
    torch.testing.assert_close(average.weight, network.weight - 0.75)
    assert abs(PUBLISHED_DECAY - 0.99778438) < 1e-8
