"""Lip-sync losses and the training of the expert, compared with Wav2Lip's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit_training.losses.config import SyncConfig
from retalkit_training.losses.sync import SyncLoss, cosine_cross_entropy, expert_loss
from retalkit_training.networks.syncnet_expert import SyncNetExpert
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.training.references import BATCH_STATISTICS_LOSS, EXACT_LOSS, LATER_LOSS, LOSS, References

EVALUATION = SyncConfig()
TRAINING = SyncConfig(batch_statistics=True)


@pytest.fixture(scope="module")
def published(references: Callable[[str], References]) -> References:
    return references("syncnet_expert")


@pytest.fixture
def expert(published: References) -> SyncNetExpert:
    return published.fill(SyncNetExpert())


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_losses_and_gradients_match_published(mode: str, published: References, expert: SyncNetExpert) -> None:
    expert.train(mode == "train")
    inputs = published.inputs("syncnet")
    faces = inputs["faces"].requires_grad_()
    embeddings = expert(inputs["mel"], faces)
    tolerance = {"rtol": 0, "atol": 1e-6 if mode == "eval" else 1e-4}
    np.testing.assert_allclose(embeddings.speech.detach(), published[f"{mode}_audio_embedding"], **tolerance)
    np.testing.assert_allclose(embeddings.mouth.detach(), published[f"{mode}_face_embedding"], **tolerance)
    cosines = embeddings.cosines().detach()
    np.testing.assert_allclose(cosines, published[f"{mode}_cosine"], rtol=1e-5 if mode == "eval" else 1e-4)
    value = cosine_cross_entropy(embeddings.cosines(), inputs["y"].flatten(), EVALUATION)
    value.backward()
    published.check_loss(value, f"{mode}_loss", LOSS if mode == "eval" else BATCH_STATISTICS_LOSS)
    published.check_gradients(expert.named_parameters(), mode)
    # The reference gradient of the faces, unlike that of the parameters, is the sum of two backward passes.
    assert faces.grad is not None
    published.check_pixel_gradient(2 * faces.grad, f"{mode}_faces_grad", 0.01 if mode == "eval" else 0.02)
    if mode == "train":
        published.check_state(expert.state_dict(), "train_buffers_after", 1e-4)


def test_adam_steps_match_published(published: References, expert: SyncNetExpert) -> None:
    expert.train()
    inputs = published.inputs("syncnet")
    optimiser = torch.optim.Adam(expert.parameters(), lr=1e-4)
    losses: list[float] = []
    for step in range(4):
        value = expert_loss(expert, inputs["mel"], inputs["faces"], inputs["y"], EVALUATION)
        losses.append(value.item())
        if step < 3:
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    expected = published["adam3_losses"]
    np.testing.assert_allclose(losses[0], expected[0], rtol=BATCH_STATISTICS_LOSS)
    np.testing.assert_allclose(losses[1], expected[1], rtol=LATER_LOSS)
    # The published float32 and float64 losses differ by 4 % after three steps.
    assert losses == sorted(losses, reverse=True)
    assert losses[3] < 0.4
    published.check_state(expert.state_dict(), "adam3_after", 1e-3, without=published.rounding_names("train"))


@pytest.mark.parametrize(("mode", "config"), [("eval", EVALUATION), ("train", TRAINING)])
def test_gradients_of_generated_windows_match_published(
    mode: str, config: SyncConfig, published: References, expert: SyncNetExpert
) -> None:
    inputs = published.inputs("window", "window_")
    faces = inputs["generated"].requires_grad_()
    value = SyncLoss(config, expert).train()(inputs["mel"], faces)
    value.backward()
    published.check_loss(value, f"window_{mode}_loss", LOSS if mode == "eval" else BATCH_STATISTICS_LOSS)
    # In train mode, the published float32 and float64 gradients differ by 0.5 %.
    published.check_pixel_gradient(faces.grad, f"window_{mode}_grad", 0.01 if mode == "eval" else 0.03)
    assert faces.grad is not None
    assert not bool(faces.grad[:, :, :, :48].any())
    assert all(parameter.grad is None for parameter in expert.parameters())


@pytest.mark.parametrize(("mode", "config"), [("eval", EVALUATION), ("train", TRAINING)])
def test_losses_in_float64_match_published(
    mode: str, config: SyncConfig, published: References, expert: SyncNetExpert
) -> None:
    expert.double().train(mode == "train")
    inputs = published.inputs("syncnet")
    cosines = expert(inputs["mel"].double(), inputs["faces"].double()).cosines()
    value = cosine_cross_entropy(cosines, inputs["y"].flatten().double(), EVALUATION)
    published.check_loss(value, f"{mode}_loss_f64", EXACT_LOSS)
    inputs = published.inputs("window", "window_")
    value = SyncLoss(config, expert).train()(inputs["mel"].double(), inputs["generated"].double())
    published.check_loss(value, f"window_{mode}_loss_f64", EXACT_LOSS)


def test_expert_stays_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    expert = SyncNetExpert(2)
    before = {name: value.clone() for name, value in expert.state_dict().items()}
    loss = SyncLoss(EVALUATION, expert).train()
    mel, faces = torch.randn(1, 1, 80, 16), torch.rand(1, 3, 5, 96, 96)
    assert loss.training
    # A batch of one fails in training mode.
    alone = loss(mel, faces)
    assert all(torch.equal(value, before[name]) for name, value in expert.state_dict().items())
    together = loss(torch.cat([mel, torch.randn_like(mel)]), torch.cat([faces, torch.rand_like(faces)]))
    assert together.isfinite()
    torch.testing.assert_close(loss.eval()(mel, faces), alone)

    # A trainer that switches all its modules to training mode.
    expert.train()
    with pytest.raises(RuntimeError, match="not in evaluation mode"):
        loss(mel, faces)
    loss.train()
    expert.face_encoder[3].train()
    with pytest.raises(RuntimeError, match="not in evaluation mode"):
        loss(mel, faces)
    torch.testing.assert_close(loss.train()(mel, faces), alone)


def test_published_training_mode_is_an_option() -> None:
    torch.manual_seed(0)
    expert = SyncNetExpert(2)
    loss = SyncLoss(TRAINING, expert).eval()
    assert expert.training
    before = expert.face_encoder[0].conv_block[1].running_mean.clone()
    loss(torch.randn(2, 1, 80, 16), torch.rand(2, 3, 5, 96, 96))
    assert not torch.equal(expert.face_encoder[0].conv_block[1].running_mean, before)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        loss(torch.randn(1, 1, 80, 16), torch.rand(1, 3, 5, 96, 96))


def test_cosines_above_one_are_clamped() -> None:
    cosines = torch.tensor([1.0 + 1.2e-7, 0.5])
    labels = torch.tensor([1.0, 0.0])
    expected = 0.5 * torch.log(torch.tensor(2.0))
    torch.testing.assert_close(cosine_cross_entropy(cosines, labels, EVALUATION), expected)
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        cosine_cross_entropy(cosines, labels, SyncConfig(probability="unclamped"))
    # A wrong pair with a cosine of 1 has a finite loss.
    assert cosine_cross_entropy(torch.ones(1), torch.zeros(1), EVALUATION) == 100


def test_loss_is_computed_in_float32_under_autocast() -> None:
    loss = SyncLoss(EVALUATION, SyncNetExpert(2))
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(torch.randn(1, 1, 80, 16), torch.rand(1, 3, 5, 96, 96))
    assert value.dtype == torch.float32
    assert value.isfinite()


def test_loss_is_available_under_autocast_on_cuda() -> None:
    # torch.autocast is disabled without a CUDA device, also for fake tensors.
    torch.set_autocast_enabled("cuda", True)
    try:
        with FakeTensorMode():
            cosines = torch.empty(4, dtype=torch.bfloat16, device="cuda")
            with pytest.raises(RuntimeError, match="unsafe to autocast"):
                torch.nn.functional.binary_cross_entropy(cosines.float(), cosines.float())
            assert cosine_cross_entropy(cosines, torch.empty(4, device="cuda"), EVALUATION).dtype == torch.float32
    finally:
        torch.set_autocast_enabled("cuda", False)
