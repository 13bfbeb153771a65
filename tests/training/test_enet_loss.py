"""E-Net's loss, equation 12, compared with the published network and losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit_enhancers.enet.network import NOISE_SIZES, ENet
from retalkit_metrics.identity.network import FaceRecogniser
from retalkit_renderers.lnet.network import LNet
from retalkit_training.losses.config import AdversarialConfig, ENetLossConfig
from retalkit_training.losses.enet import ENetLoss, discriminator_images
from retalkit_training.losses.identity import IdentityLoss
from retalkit_training.losses.image_formats import BGR_SIGNED, BGR_UNIT, RGB_SIGNED, convert_images
from retalkit_training.losses.perceptual import PerceptualLoss
from retalkit_training.networks.loading import freeze
from retalkit_training.networks.stylegan2_discriminator import StyleGan2Discriminator
from retalkit_training.networks.vgg import VggFeatures

from tests.training.references import References

ONLY_L1 = {"perceptual_weight": 0, "identity_weight": 0, "adversarial_weight": 0}


@pytest.fixture(scope="module")
def published(references: Callable[[str], References]) -> References:
    return references("enet_training")


@pytest.mark.slow
def test_losses_and_gradients_match_published(published: References) -> None:
    config = ENetLossConfig()
    low_resolution = freeze(published.fill(LNet(), prefix="low_res."))
    network = published.fill(ENet()).train()
    assert sum(value.numel() for value in network.parameters()) == published["trainable_parameters"]
    features = published.fill(VggFeatures("vgg19", config.perceptual.layers), "vgg")
    loss = ENetLoss(
        config,
        PerceptualLoss(config.perceptual, features),
        IdentityLoss(config.identity, published.fill(FaceRecogniser()), BGR_UNIT),
    )
    discriminator = freeze(published.fill(StyleGan2Discriminator(256), "gpen"))
    inputs = published.inputs("enet")
    masked, reference = inputs["face_sequences"].split(3, dim=1)
    # L-Net's reference is D-Net's face, E-Net's is another frame of the same person.
    sequences = torch.cat([masked, inputs["gt_sequences"]], dim=1)
    with torch.no_grad():
        low = low_resolution(
            inputs["audio_sequences"], torch.nn.functional.interpolate(sequences, (96, 96), mode="bilinear")
        )
    # The noise strengths are 0 and learned. Their gradients depend on the noise, the faces do not.
    noise = [torch.randn(1, 1, size, size) for size in NOISE_SIZES]
    strengths = {f"style_convs.{index}.weight" for index in range(4)}
    faces = network(low, reference, noise)
    np.testing.assert_allclose(faces.detach()[..., ::8, ::8], published["pred"], rtol=0, atol=1e-4)

    value = loss(faces, inputs["gt"], discriminator)
    for name, stored in (
        ("l1", "l1"),
        ("perceptual", "perceptual_one_scale"),
        ("identity", "id_l2"),
        ("adversarial", "adv_nonsaturating"),
    ):
        published.check_loss(value.terms[name], f"frozen_eval_{stored}")
    published.check_loss(value.total, "seed_weights_loss")
    value.total.backward(retain_graph=True)
    norms = [parameter.grad.norm() for parameter in network.parameters()]
    np.testing.assert_allclose(torch.stack(norms).norm(), published["seed_weights_grad_total_norm"], rtol=0.01)

    network.zero_grad()
    loss.config = ENetLossConfig(adversarial_weight=0)
    value = loss(faces, inputs["gt"], None)
    published.check_loss(value.total, "seed_weights_without_adv_loss")
    value.total.backward(retain_graph=True)
    published.check_gradients(network.named_parameters(), "seed_without_adv", without=strengths)

    with torch.no_grad():
        loss.config = ENetLossConfig(l1_weight=0.2, perceptual_weight=1)
        published.check_loss(loss(faces, inputs["gt"], discriminator).total, "secondhand_weights_loss")
        loss.config = ENetLossConfig(adversarial=AdversarialConfig(kind="saturating"))
        terms = loss(faces, inputs["gt"], discriminator).terms
        published.check_loss(terms["adversarial"], "frozen_eval_adv_saturating")
        logits = discriminator(discriminator_images(faces, 256))
        np.testing.assert_allclose(logits.item(), published["frozen_eval_logit"], rtol=1e-5)

    # Norms of the gradients of the unweighted terms at the output.
    output = faces.detach().requires_grad_()
    found: list[float] = []
    for name in ("l1", "perceptual", "identity", "adversarial"):
        weights = dict.fromkeys(("l1_weight", "perceptual_weight", "identity_weight", "adversarial_weight"), 0.0)
        loss.config = ENetLossConfig(**{**weights, f"{name}_weight": 1.0})
        (gradient,) = torch.autograd.grad(loss(output, inputs["gt"], discriminator).total, output)
        found.append(gradient.norm().item())
    np.testing.assert_allclose(found, published["gradient_norm_at_the_output"], rtol=0.01)


class _Recorder(torch.nn.Module):
    """Stand-in for a loss or a discriminator that records its inputs."""

    size = 16

    def forward(self, *inputs: Any) -> Any:
        self.inputs = inputs
        return inputs[0].mean()


def test_each_term_receives_its_image_format() -> None:
    torch.manual_seed(0)
    faces, target = torch.rand(2, 1, 3, 24, 24)
    perceptual, identity, discriminator = _Recorder(), _Recorder(), _Recorder()
    loss = ENetLoss(ENetLossConfig(), perceptual, identity)  # type: ignore[arg-type]
    value = loss(faces, target, discriminator)  # type: ignore[arg-type]
    torch.testing.assert_close(perceptual.inputs[0], faces.flip(1) * 2 - 1)
    torch.testing.assert_close(perceptual.inputs[1], target.flip(1) * 2 - 1)
    assert identity.inputs[0] is faces
    assert identity.inputs[1] is target
    (images,) = discriminator.inputs
    assert images.shape == (1, 3, 16, 16)
    torch.testing.assert_close(images, discriminator_images(faces, 16))
    terms = value.terms
    total = 0.1 * terms["l1"] + 2 * terms["perceptual"] + 100 * terms["adversarial"] + 0.4 * terms["identity"]
    torch.testing.assert_close(value.total, total)
    torch.testing.assert_close(terms["adversarial"], torch.nn.functional.softplus(-images.mean()))


def test_images_of_the_discriminator_are_resized_with_antialiasing() -> None:
    # Columns that alternate between 0 and 1 become grey.
    faces = torch.tensor([0.0, 1.0]).repeat(384 // 2).expand(1, 3, 384, 384)
    images = discriminator_images(faces, 128)
    assert images.shape == (1, 3, 128, 128)
    assert images[..., 2:-2].abs().max() < 0.2
    torch.testing.assert_close(discriminator_images(faces, 384), faces * 2 - 1)


def test_terms_without_weight_are_not_computed() -> None:
    faces, target = torch.rand(2, 1, 3, 24, 24)
    value = ENetLoss(ENetLossConfig(**ONLY_L1), None, None)(faces, target, None)
    torch.testing.assert_close(value.total, 0.1 * (faces - target).abs().mean())
    with pytest.raises(ValueError, match=r"perceptual_weight is 2\.0"):
        ENetLoss(ENetLossConfig(), None, None)
    with pytest.raises(ValueError, match=r"identity_weight is 0\.4"):
        ENetLoss(ENetLossConfig(perceptual_weight=0), None, None)
    loss = ENetLoss(ENetLossConfig(**{**ONLY_L1, "adversarial_weight": 100}), None, None)
    with pytest.raises(ValueError, match=r"adversarial_weight is 100\.0, but there is no discriminator"):
        loss(faces, target, None)


def test_image_formats_are_converted() -> None:
    image = torch.tensor([0.0, 0.25, 1.0])[None, :, None, None]
    expected = torch.tensor([1.0, -0.5, -1.0])[None, :, None, None]
    assert torch.equal(convert_images(image, BGR_UNIT, RGB_SIGNED), expected)
    assert torch.equal(convert_images(expected, RGB_SIGNED, BGR_UNIT), image)
    assert torch.equal(convert_images(expected, RGB_SIGNED, BGR_SIGNED), expected.flip(1))
    assert convert_images(image, BGR_UNIT, BGR_UNIT) is image
