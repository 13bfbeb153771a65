"""Training steps of the loop compared with those of the published trainers (folder ``parity_training``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("accelerate", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit_training.loop.data import ArrayClip, ArrayData
from retalkit_training.loop.trainer import Trainer
from retalkit_training.networks.syncnet_expert import SyncNetExpert
from retalkit_training.networks.vgg import VggFeatures
from retalkit_training.tasks.config import CONFIGS
from retalkit_training.tasks.tasks import make_task

from tests.training.references import LATER_LOSS, LOSS, References


class FilledWeights:
    """Frozen networks with the weights of the references."""

    def __init__(self, published: References) -> None:
        self._published = published

    def stored(self, name: str, purpose: str) -> Mapping[str, Any]:
        network = VggFeatures("vgg16" if name == "vgg16" else "vgg19", ["relu_5_1"])
        return self._published.fill(network, "vgg").state_dict()

    def file(self, path: Path) -> Mapping[str, Any]:
        return self._published.fill(SyncNetExpert()).state_dict()


def losses(
    published: References, trainer: str, network: str, batch: Mapping[str, Any], key: str, steps: int, **options: Any
) -> list[float]:
    """Return the total loss of each step for the same batch."""
    clip = ArrayClip(
        "c",
        "c",
        {size: np.zeros((20, size, size, 3), np.uint8) for size in (96, 256)},
        np.zeros((80, 65), np.float32),
        np.zeros((20, 73), np.float32),
    )
    data = ArrayData("d", "d", {"train": [clip]}, sizes=(96, 256))
    task: Any = make_task(CONFIGS[trainer].model_validate(options), data, FilledWeights(published))
    published.fill(task.networks[network])
    run = Trainer(task, device="cpu")
    return [float(run.step(step, [dict(batch)])[key]) for step in range(steps)]


def test_expert_steps_match_published(references: Callable[[str], References]) -> None:
    published = references("syncnet_expert")
    inputs = published.inputs("syncnet")
    batch = {"mouths": inputs["faces"], "mel": inputs["mel"], "label": inputs["y"]}
    found = losses(published, "syncnet", "expert", batch, "expert/total", 2, batch_size=4)
    np.testing.assert_allclose(found[0], published["adam3_losses"][0], rtol=LOSS)
    np.testing.assert_allclose(found[1], published["adam3_losses"][1], rtol=LATER_LOSS)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["warp", "gen"])
def test_dnet_steps_match_published(stage: str, references: Callable[[str], References]) -> None:
    published = references("dnet_training")
    inputs = published.inputs("dnet")
    batch = {
        "source_image": inputs["source_image"],
        "target_image": inputs["target_image"],
        "source_coefficients": inputs["source_semantics"],
        "target_coefficients": inputs["target_semantics"],
    }
    options = {
        "batch_size": 1,
        "warp_steps": 9 if stage == "warp" else 0,
        "loss": {"warp": {"scales": 3}, "final": {"scales": 3, "style_weight": 250}},
    }
    found = losses(published, "dnet", "dnet", batch, "generator/total", 3, **options)
    expected = {"warp": (15.681, 15.205, 14.865), "gen": (78.183, 58.375, 54.474)}[stage]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    np.testing.assert_allclose(found, expected, rtol=LATER_LOSS)


@pytest.mark.slow
def test_lnet_steps_match_published(references: Callable[[str], References]) -> None:
    published = references("lnet_training")
    inputs = published.inputs("lnet")
    batch = {
        "target": inputs["gt"],
        "reference": inputs["x"][:, 3:],
        "mels": inputs["indiv_mels"],
        "mel": inputs["mel"],
    }
    options = {"batch_size": 1, "expert": "expert.pth"}
    found = losses(published, "lnet", "lnet", batch, "generator/total", 3, **options)
    expected = published["expert_eval_losses_l1_perceptual_sync_by_step"][:3, 0]
    np.testing.assert_allclose(found[0], expected[0], rtol=LOSS)
    np.testing.assert_allclose(found, expected, rtol=LATER_LOSS)
