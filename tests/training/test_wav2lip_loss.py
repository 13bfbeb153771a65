"""Wav2Lip's losses and training step compared with the published ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")

from pydantic import ValidationError
from retalkit_renderers.wav2lip.network import Wav2LipGenerator
from retalkit_training.frame_windows import flatten_frames, flatten_mels, unflatten_frames
from retalkit_training.losses.adversarial import generator_loss
from retalkit_training.losses.config import SyncConfig, Wav2LipLossConfig
from retalkit_training.losses.sync import SyncLoss
from retalkit_training.losses.wav2lip import Wav2LipLoss, quality_discriminator_loss
from retalkit_training.networks.quality_discriminator import QualityDiscriminator
from retalkit_training.networks.syncnet_expert import SyncNetExpert

from tests.training.references import References


@pytest.fixture(scope="module")
def published(references: Callable[[str], References]) -> References:
    return references("syncnet_expert")


@pytest.mark.slow
def test_generator_step_matches_published(published: References) -> None:
    network = published.fill(Wav2LipGenerator()).eval()
    inputs = published.inputs("lnet", "wav2lip_", n=2)
    mels, images = flatten_mels(inputs["indiv_mels"]), flatten_frames(inputs["x"])
    with torch.no_grad():
        faces = unflatten_frames(network(mels, images), 2)
    np.testing.assert_allclose(faces[..., ::4, ::4], published["wav2lip_eval_out"], rtol=0, atol=1e-5)

    config = Wav2LipLossConfig(sync_weight=0.03, quality_weight=0, sync=SyncConfig(batch_statistics=True))
    loss = Wav2LipLoss(config, SyncLoss(config.sync, published.fill(SyncNetExpert())))
    faces = unflatten_frames(network.train()(mels, images), 2)
    value = loss(faces, inputs["gt"], inputs["mel"], None)
    published.check_loss(value.terms["sync"], "wav2lip_train_sync", 1e-4)
    published.check_loss(value.terms["l1"], "wav2lip_train_l1")
    published.check_loss(value.total, "wav2lip_train_loss")
    value.total.backward()
    published.check_gradients(network.named_parameters(), "wav2lip_train")


def test_quality_discriminator_matches_published(published: References) -> None:
    network = published.fill(QualityDiscriminator(), "vgg")
    faces = published.inputs("window", "window_")["generated"].requires_grad_()
    target = published.inputs("lnet", "wav2lip_", n=2)["x"][:, 3:]
    logits = network(faces)
    np.testing.assert_allclose(logits.sigmoid().detach(), published["quality_pred_fake"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(network(target).sigmoid().detach(), published["quality_pred_real"], rtol=0, atol=1e-6)
    value = generator_loss(logits, "non-saturating")
    value.backward()
    published.check_loss(value, "quality_perceptual")
    published.check_pixel_gradient(faces.grad, "quality_grad")

    network.zero_grad()
    faces.grad = None
    value = quality_discriminator_loss(network, target, faces)
    value.backward()
    expected = published["quality_real_loss"] + published["quality_fake_loss"]
    np.testing.assert_allclose(value.item(), expected, rtol=1e-5)
    published.check_gradients(network.named_parameters(), "quality_d")
    assert faces.grad is None


def test_quality_discriminator_computes_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    network = QualityDiscriminator(4)
    target, faces = torch.rand(2, 1, 3, 1, 96, 96)
    expected = quality_discriminator_loss(network, target, faces)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(target), network.float()(target))
        assert torch.equal(quality_discriminator_loss(network, target, faces), expected)
        assert generator_loss(torch.tensor([0.1], dtype=torch.bfloat16), "non-saturating").dtype == torch.float32


def test_weight_of_l1_is_the_remainder() -> None:
    torch.manual_seed(0)
    faces, target = torch.rand(2, 1, 3, 5, 96, 96)
    mel = torch.randn(1, 1, 80, 16)
    sync, discriminator = SyncLoss(SyncConfig(), SyncNetExpert(2)), QualityDiscriminator(2)
    terms = {
        "l1": (faces - target).abs().mean(),
        "sync": sync(mel, faces),
        "quality": generator_loss(discriminator(faces), "non-saturating"),
    }
    value = Wav2LipLoss(Wav2LipLossConfig(), sync)(faces, target, mel, discriminator)
    torch.testing.assert_close(value.total, 0.9 * terms["l1"] + 0.03 * terms["sync"] + 0.07 * terms["quality"])
    assert set(value.terms) == set(terms)
    value = Wav2LipLoss(Wav2LipLossConfig(sync_weight=0, quality_weight=0), None)(faces, target, mel, None)
    torch.testing.assert_close(value.total, terms["l1"])
    value = Wav2LipLoss(Wav2LipLossConfig(sync_weight=1, quality_weight=0), sync)(faces, target, mel, None)
    assert set(value.terms) == {"sync"}


def test_missing_networks_are_reported() -> None:
    faces, mel = torch.rand(1, 3, 5, 96, 96), torch.randn(1, 1, 80, 16)
    with pytest.raises(ValueError, match=r"sync_weight is 0\.03"):
        Wav2LipLoss(Wav2LipLossConfig(), None)
    with pytest.raises(ValueError, match=r"quality_weight is 0\.07, but there is no discriminator"):
        Wav2LipLoss(Wav2LipLossConfig(sync_weight=0), None)(faces, faces, mel, None)


@pytest.mark.parametrize("weights", [{"sync_weight": 0.95}, {"quality_weight": 1.1}, {"sync_weight": -0.1}])
def test_invalid_weights_are_rejected(weights: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"sync_weight|quality_weight"):
        Wav2LipLossConfig(**weights)
