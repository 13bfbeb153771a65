"""L-Net's training steps, equation 7, compared with the published network and losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit_renderers.lnet.network import LNet
from retalkit_training.frame_windows import flatten_frames, flatten_mels, unflatten_frames
from retalkit_training.losses.config import LNetLossConfig, PerceptualConfig, SyncConfig
from retalkit_training.losses.lnet import LNetLoss
from retalkit_training.losses.perceptual import PerceptualLoss
from retalkit_training.losses.sync import SyncLoss
from retalkit_training.networks.syncnet_expert import SyncNetExpert
from retalkit_training.networks.vgg import VggFeatures

from tests.training.references import LATER_LOSS, References


@pytest.fixture(scope="module")
def published(references: Callable[[str], References]) -> References:
    return references("lnet_training")


@pytest.mark.slow
def test_adam_steps_match_published(published: References) -> None:
    network = published.fill(LNet()).train()
    config = LNetLossConfig()
    features = published.fill(VggFeatures(config.perceptual.network, config.perceptual.layers), "vgg")
    expert = published.fill(SyncNetExpert())
    loss = LNetLoss(config, PerceptualLoss(config.perceptual, features), SyncLoss(config.sync, expert)).train()
    inputs = published.inputs("lnet")
    mels, images = flatten_mels(inputs["indiv_mels"]), flatten_frames(inputs["x"])
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    found: list[list[float]] = []
    for step in range(4):
        faces = unflatten_frames(network(mels, images), 1)
        value = loss(faces, inputs["gt"], inputs["mel"])
        found.append([value.total.item(), *(value.terms[name].item() for name in ("l1", "perceptual", "sync"))])
        if step == 0:
            stored = published["train_mode_out"]
            np.testing.assert_allclose(faces.detach()[..., ::4, ::4], stored, rtol=0, atol=1e-4)
            # Statistics of batch norms and one power iteration of each spectral norm.
            published.check_state(network.state_dict(), "buffers_after_one_forward", 1e-4)
        if step == 3:
            break
        optimiser.zero_grad()
        value.total.backward()
        if step == 0:
            published.check_gradients(network.named_parameters(), "expert_eval")
        optimiser.step()
    expected = published["expert_eval_losses_l1_perceptual_sync_by_step"]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found[:3], expected[:3], rtol=LATER_LOSS)
    # Gradients of single parameters differ by 3 % between one and two threads, so that differences grow: 0.47 % here.
    np.testing.assert_allclose(found[3], expected[3], rtol=2 * LATER_LOSS)


class _Recorder(torch.nn.Module):
    """Stand-in for a loss that records its inputs."""

    def forward(self, *inputs: Any) -> Any:
        self.inputs = inputs
        return inputs[0].square().mean()


def test_each_term_receives_its_image_format() -> None:
    torch.manual_seed(0)
    faces, target = torch.rand(2, 2, 3, 5, 96, 96)
    mel = torch.randn(2, 1, 80, 16)
    perceptual, sync = _Recorder(), _Recorder()
    value = LNetLoss(LNetLossConfig(), perceptual, sync)(faces, target, mel)  # type: ignore[arg-type]
    # The perceptual loss receives RGB in [-1, 1], first the first frames.
    images, truths = perceptual.inputs
    assert images.shape == (10, 3, 96, 96)
    torch.testing.assert_close(images[3], faces[1, [2, 1, 0], 1] * 2 - 1)
    torch.testing.assert_close(truths[3], target[1, [2, 1, 0], 1] * 2 - 1)
    assert sync.inputs[0] is mel
    assert sync.inputs[1] is faces
    expected = {
        "l1": (faces - target).abs().mean(),
        "perceptual": images.square().mean(),
        "sync": mel.square().mean(),
    }
    torch.testing.assert_close(dict(value.terms), expected)
    torch.testing.assert_close(value.total, expected["l1"] + expected["perceptual"] + 0.3 * expected["sync"])


def test_terms_without_weight_are_not_computed() -> None:
    faces, target = torch.rand(2, 1, 3, 5, 96, 96)
    mel = torch.randn(1, 1, 80, 16)
    only = LNetLoss(LNetLossConfig(l1_weight=2, perceptual_weight=0, sync_weight=0), None, None)
    value = only(faces, target, mel)
    assert list(value.terms) == ["l1"]
    torch.testing.assert_close(value.total, 2 * (faces - target).abs().mean())
    with pytest.raises(ValueError, match=r"perceptual_weight is 1\.0"):
        LNetLoss(LNetLossConfig(), None, None)
    with pytest.raises(ValueError, match=r"sync_weight is 0\.3"):
        LNetLoss(LNetLossConfig(perceptual_weight=0), None, None)
    with pytest.raises(ValueError, match="l1_weight, perceptual_weight, sync_weight"):
        LNetLoss(LNetLossConfig(l1_weight=0, perceptual_weight=0, sync_weight=0), None, None)(faces, target, mel)


def test_gradients_of_all_terms_reach_the_faces() -> None:
    torch.manual_seed(0)
    faces, target = torch.rand(2, 1, 3, 5, 96, 96)
    faces.requires_grad_()
    layers = PerceptualConfig(layers=("relu_1_1",))
    perceptual = PerceptualLoss(layers, VggFeatures("vgg19", layers.layers))
    loss = LNetLoss(LNetLossConfig(), perceptual, SyncLoss(SyncConfig(), SyncNetExpert(2))).train()
    mel = torch.randn(1, 1, 80, 16)
    upper: list[bool] = []
    for name in ("l1_weight", "perceptual_weight", "sync_weight"):
        loss.config = LNetLossConfig(**{"l1_weight": 0, "perceptual_weight": 0, "sync_weight": 0, name: 1})
        (gradient,) = torch.autograd.grad(loss(faces, target, mel).total, faces)
        assert bool(gradient[:, :, :, 48:].any())
        upper.append(bool(gradient[:, :, :, :48].any()))
    # The expert sees the lower half only.
    assert upper == [True, True, False]


def test_windows_are_flattened_frame_by_frame() -> None:
    windows = torch.arange(2 * 3 * 5).view(2, 3, 5, 1, 1).expand(2, 3, 5, 4, 6)
    images = flatten_frames(windows)
    assert torch.equal(images, torch.cat([windows[:, :, frame] for frame in range(5)]))
    assert torch.equal(unflatten_frames(images, 2), windows)
    mels = torch.randn(2, 5, 1, 80, 16)
    assert torch.equal(flatten_mels(mels), torch.cat([mels[:, frame] for frame in range(5)]))
