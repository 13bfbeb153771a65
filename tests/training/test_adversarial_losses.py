"""Adversarial losses and StyleGAN2's discriminator, compared with GPEN's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit_training.losses.adversarial import (
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    r1_penalty,
)
from retalkit_training.networks.stylegan2_discriminator import StyleGan2Discriminator

from tests.training.references import EXACT_LOSS, LATER_LOSS, R1_LOSS, References

CASES = [
    ("q64", 64, 4, 0.25),
    pytest.param("full256", 256, 2, 1.0, marks=pytest.mark.slow),
]
DISCRIMINATOR_LOSSES = [
    ("non-saturating", "d_logistic"),
    ("saturating", "doc_d_minimised"),
    ("hinge", "hinge_d"),
    ("lsgan", "lsgan_d"),
]
R1_GRADIENT = "r1_weighted_10_over_2_times_16"


@pytest.fixture(scope="module")
def published(references: Callable[[str], References]) -> References:
    return references("gan")


@pytest.fixture(scope="module")
def make(published: References) -> Callable[[int, float], StyleGan2Discriminator]:
    return lambda size, narrow: published.fill(StyleGan2Discriminator(size, narrow=narrow), "gpen")


@pytest.mark.parametrize(("case", "size", "count", "narrow"), CASES)
def test_losses_and_gradients_match_published(
    case: str, size: int, count: int, narrow: float, published: References, make: Callable[..., Any]
) -> None:
    network = make(size, narrow)
    inputs = published.inputs("gan", f"{case}_", n=count, size=size)
    real, fake = inputs["real"].requires_grad_(), inputs["fake"].requires_grad_()
    real_logits, fake_logits = network(real), network(fake)
    for logits, name in ((real_logits, "real_logit"), (fake_logits, "fake_logit")):
        np.testing.assert_allclose(logits.detach(), published[f"{case}_{name}"], rtol=0, atol=2e-6)

    for kind, name in (("non-saturating", "g_nonsaturating"), ("saturating", "doc_g_saturating")):
        value = generator_loss(fake_logits, kind)
        published.check_loss(value, f"{case}_{name}")
        (gradient,) = torch.autograd.grad(value, fake, retain_graph=True)
        np.testing.assert_allclose(gradient.norm().item(), published[f"{case}_{name}_pixgrad_norm"], rtol=0.01)
        if kind == "non-saturating":
            published.check_pixel_gradient(gradient, f"{case}_{name}_pixgrad")
    for kind, name in DISCRIMINATOR_LOSSES:
        published.check_loss(discriminator_loss(real_logits, fake_logits, kind), f"{case}_{name}")

    discriminator_loss(network(real.detach()), network(fake.detach()), "non-saturating").backward()
    published.check_gradients(network.named_parameters(), f"{case}_d_logistic")
    network.zero_grad()
    penalty = r1_penalty(network(real), real)
    published.check_loss(penalty, f"{case}_r1", R1_LOSS)
    (10 / 2 * 16 * penalty).backward()
    published.check_gradients(network.named_parameters(), f"{case}_{R1_GRADIENT}")


def test_losses_in_float64_match_published(published: References, make: Callable[..., Any]) -> None:
    inputs = published.inputs("gan", "q64_", n=4, size=64)
    network, fake = make(64, 0.25).double(), inputs["fake"].double()
    real = inputs["real"].double().requires_grad_()
    real_logits, fake_logits = network(real), network(fake)
    for kind, name in (("non-saturating", "g_nonsaturating"), ("saturating", "doc_g_saturating")):
        published.check_loss(generator_loss(fake_logits, kind), f"q64_f64_{name}", EXACT_LOSS)
    for kind, name in DISCRIMINATOR_LOSSES:
        published.check_loss(discriminator_loss(real_logits, fake_logits, kind), f"q64_f64_{name}", EXACT_LOSS)
    published.check_loss(r1_penalty(real_logits, real), "q64_f64_r1", EXACT_LOSS)


@pytest.mark.slow
def test_adam_steps_match_published(published: References, make: Callable[..., Any]) -> None:
    network = make(64, 0.25)
    inputs = published.inputs("gan", "q64_", n=4, size=64)
    ratio = 16 / 17
    optimiser = torch.optim.Adam(network.parameters(), lr=0.002 * ratio, betas=(0.0, 0.99**ratio))
    losses: list[float] = []
    for step in range(4):
        value = discriminator_loss(network(inputs["real"]), network(inputs["fake"]), "non-saturating")
        losses.append(value.item())
        if step < 3:
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    np.testing.assert_allclose(losses, published["q64_adam3_d_losses"], rtol=LATER_LOSS)
    np.testing.assert_allclose(losses[0], published["q64_adam3_d_losses"][0], rtol=1e-5)


def test_generator_losses() -> None:
    logits = torch.tensor([-2.0, 3.0])
    probabilities = torch.sigmoid(logits)
    expected = {
        "non-saturating": -probabilities.log().mean(),
        "saturating": (1 - probabilities).log().mean(),
        "hinge": torch.tensor(-0.5),
        "lsgan": torch.tensor((9 + 4) / 2),
    }
    for kind, value in expected.items():
        torch.testing.assert_close(generator_loss(logits, kind), value)
        # A higher logit means a lower loss, except for LSGAN beyond 1.
        assert generator_loss(torch.tensor([0.5]), kind) < generator_loss(torch.tensor([-0.5]), kind)


def test_path_length_of_a_linear_generator() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(4, 3 * 8 * 8, dtype=torch.float64)
    codes = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    images = (codes.sum(1) @ matrix).view(2, 3, 8, 8)
    noise = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    result = path_length_penalty(images, codes, torch.tensor(0.5, dtype=torch.float64), 0.01, noise)
    # J^T y of the sum of all levels, for noise of variance 1 / (h w).
    expected = (noise.flatten(1) / 8 @ matrix.T).norm(dim=1)
    torch.testing.assert_close(result.lengths, expected)
    mean = 0.99 * 0.5 + 0.01 * expected.mean()
    torch.testing.assert_close(result.mean, mean)
    torch.testing.assert_close(result.penalty, (expected - mean).square().mean())
    assert not result.mean.requires_grad
