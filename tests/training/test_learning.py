"""Trainers of L-Net, D-Net and E-Net on drawn speakers: what the networks learn, measured apart from the loss.

``test_trainers.py`` contains the same for the lip-sync expert. The numbers of steps and the limits are those of the
README of the folder ``parity_training``, section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("accelerate", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit_renderers.lnet import network as lnet_network
from retalkit_training.loop.data import ArrayClip, ArrayData
from retalkit_training.loop.task import Sample
from retalkit_training.loop.trainer import Trainer
from retalkit_training.losses.terms import LossTerms
from retalkit_training.networks.staged_dnet import StagedDNet
from retalkit_training.tasks.config import DNetConfig, ENetConfig, LNetConfig
from retalkit_training.tasks.dnet import DNetTask
from retalkit_training.tasks.enet import ENetTask
from retalkit_training.tasks.lnet import LNetTask
from retalkit_training.tasks.windows import frame_mels

from tests.training.drawn_speakers import draw
from tests.training.filled_weights import RandomWeights
from tests.training.references import References
from tests.training.test_reference_steps import FilledWeights

QUICK = {"workers": 1, "tensorboard": False, "log_every": 50, "checkpoint_every": 10_000}


class ShiftTask(DNetTask):
    """D-Net's first stage with one image as source. Row 67 of the coefficients says how far the target is shifted."""

    side, shift = 64, 4

    def sample(self, generator: np.random.Generator, step: int) -> Sample:
        clip = self._clips[0]
        image = clip.faces(256, [0])[0, ::4, ::4, ::-1].transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
        rows = np.zeros((2, 73, 27), np.float32)
        rows[:, 67] = [[1], [-1]]
        targets = np.stack([np.roll(image, sign * self.shift, -1) for sign in (1, -1)])
        return {"images": np.stack([image, image]), "coefficients": rows, "targets": targets}

    def check(self, batch: Mapping[str, Any]) -> None:
        assert batch["targets"].shape[1:] == (2, 3, self.side, self.side)

    def _loss(self, batch: Mapping[str, Any], shared: MutableMapping[str, Any], step: int) -> LossTerms:
        parts = (batch[name].flatten(0, 1) for name in ("images", "coefficients"))
        return self._criterion(StagedDNet(self.network)(*parts, "warp"), batch["targets"].flatten(0, 1))


@pytest.mark.slow
def test_dnet_obeys_the_coefficients(tmp_path: Path, references: Callable[[str], References]) -> None:
    published = references("dnet_training")
    faces = draw(published.folder, 3, 1.0, sizes=(256,)).crops[256]
    clip = ArrayClip("c", "c", {256: faces}, np.zeros((80, 81), np.float32), np.zeros((len(faces), 73), np.float32))
    config = DNetConfig.model_validate(
        {
            **QUICK,
            "steps": 20,
            "warp_steps": 20,
            "batch_size": 1,
            "size": 64,
            "average_decay": 0,
            "loss": {"warp": {"scales": 1}, "final": {"scales": 1}},
            "optimizer": {"learning_rate": 1e-3, "betas": [0.5, 0.999]},
        }
    )
    task = ShiftTask(config, ArrayData("d", "d", {"train": [clip]}, sizes=(256,)), FilledWeights(published))
    published.fill(task.network)
    Trainer(task, device="cpu", folder=tmp_path).run()
    values = {name: torch.from_numpy(value) for name, value in task.sample(np.random.default_rng(0), 0).items()}
    with torch.no_grad():
        found = StagedDNet(task.network.eval())(values["images"], values["coefficients"], "warp").warped
    # Share of the requested difference between both outputs.
    asked = values["targets"][0] - values["targets"][1]
    share = float(((found[0] - found[1]) * asked).sum() / asked.square().sum())
    assert share > 0.4
    for own, other in ((0, 1), (1, 0)):
        distances = [float((found[own] - values["targets"][each]).abs().mean()) for each in (own, other)]
        assert distances[0] < distances[1]


@pytest.fixture
def small_lnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """L-Net with a quarter of the channels and one Fourier block per level, 4.2 million parameters."""
    monkeypatch.setattr(lnet_network, "_CHANNELS", (16, 32, 64, 128))
    monkeypatch.setattr(lnet_network, "_BLOCKS", 1)
    monkeypatch.setattr(lnet_network, "_SPEECH", 128)


@pytest.mark.slow
@pytest.mark.usefixtures("small_lnet")
def test_lnet_learns_the_mouth_from_the_sound(tmp_path: Path, shared_parity_training: Path) -> None:
    clip = draw(shared_parity_training, 5, 4.0)
    config = LNetConfig.model_validate(
        {
            **QUICK,
            "steps": 150,
            "batch_size": 2,
            "references": "consecutive",
            "loss": {"perceptual_weight": 0, "sync_weight": 0},
            "optimizer": {"learning_rate": 1e-3},
        }
    )
    task = LNetTask(config, ArrayData("d", "d", {"train": [clip]}), RandomWeights())
    Trainer(task, device="cpu", folder=tmp_path).run()
    darkness, truth, copied, difference = [], [], [], []
    reference = clip.crops[96][0].astype(np.float32) / 255
    task.network.eval()
    for start in range(0, 90, 5):
        shown = clip.crops[96][start : start + 5].astype(np.float32) / 255
        found = generated(task, clip, shown, reference, start)
        darkness += list(mouth_darkness(found))
        truth += list(mouth_darkness(shown))
        difference.append(np.abs(found - shown).mean())
        copied.append(np.abs(reference - shown).mean())
    assert np.corrcoef(darkness, truth)[0, 1] > 0.6
    assert np.mean(difference) < np.mean(copied)
    # The sound of another time opens the mouth differently.
    shown = clip.crops[96][:1].repeat(5, 0).astype(np.float32) / 255
    ranges = [mouth_darkness(generated(task, clip, shown, reference, start)) for start in range(0, 90, 5)]
    assert np.std(ranges) > 0.3 * np.std(truth)


def generated(task: LNetTask, clip: ArrayClip, shown: Any, reference: Any, start: int) -> Any:
    """Return L-Net's faces [5, 96, 96, 3] for images with the sound of the frames from ``start``."""
    masked = shown.copy()
    masked[:, 48:] = 0
    images = np.concatenate([masked, np.broadcast_to(reference, masked.shape)], -1).transpose(0, 3, 1, 2)
    mels = frame_mels(clip, start, "inference")
    with torch.no_grad():
        found = task.network(torch.from_numpy(mels), torch.from_numpy(np.ascontiguousarray(images, np.float32)))
    return found.numpy().transpose(0, 2, 3, 1)


def mouth_darkness(faces: Any) -> Any:
    return 1 - faces[:, 62:82, 34:62].mean((1, 2, 3))


@pytest.mark.slow
def test_enet_learns_a_face_within_seven_steps(tmp_path: Path, shared_parity_training: Path) -> None:
    face = draw(shared_parity_training, 7, 1.0, sizes=(384,)).crops[384][:1].repeat(25, 0)
    clip = ArrayClip("c", "c", {384: face}, np.random.default_rng(0).uniform(-4, 4, (80, 81)).astype(np.float32))
    config = ENetConfig.model_validate(
        {
            **QUICK,
            "steps": 7,
            "batch_size": 1,
            "log_every": 1,
            "average_decay": 0,
            "lnet": "lnet.pth",
            "loss": {"l1_weight": 1, "perceptual_weight": 0, "adversarial_weight": 0, "identity_weight": 0},
        }
    )
    data = ArrayData(
        "d", "d", {"train": [clip], "val": [ArrayClip("v", "v", clip.crops, clip.spectrogram)]}, sizes=(384,)
    )
    task = SmallFaceTask(config, data, RandomWeights())
    trainer = Trainer(task, device="cpu", folder=tmp_path)
    before = validation(task, trainer)
    trainer.run()
    # The initial network reproduces the face with a difference of 0.029, and the trained one with 0.023.
    assert validation(task, trainer) < 0.85 * before


class SmallFaceTask(ENetTask):
    """E-Net whose low-resolution face is the reduced target instead of the output of a trained L-Net."""

    def low_resolution_faces(self, batch: Mapping[str, Any]) -> Any:
        return torch.nn.functional.interpolate(batch["target"], size=(96, 96), mode="bilinear", antialias=True)


def validation(task: ENetTask, trainer: Trainer) -> float:
    with torch.no_grad():
        return task.evaluate(trainer.networks, 0)["validation/l1"]
