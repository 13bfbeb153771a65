"""Small task with every feature of the loop: two updates, noise, moving average, decay, and a restart of optimisers."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit_training.loop.config import LoopConfig, OptimizerConfig
from retalkit_training.loop.task import Batch, BestMetric, Sample, Update
from retalkit_training.losses.terms import LossTerms, weighted_sum
from torch import Tensor, nn


class ToyTask:
    name = "toy"
    best = BestMetric("validation/error", "lowest")

    def __init__(self, config: LoopConfig, *, key: str = "toy", poison: float = 0.0) -> None:
        self.config, self.data_key, self._poison = config, key, poison
        self.network = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(4, 1, 3, padding=1)
        )
        self.judge = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
        self.networks: Mapping[str, nn.Module] = {"network": self.network, "judge": self.judge}
        self.frozen: Sequence[nn.Module] = ()
        self.averages: Mapping[str, float] = {"network": 0.9}

    def updates(self) -> Sequence[Update]:
        options = OptimizerConfig(learning_rate=0.01, decay_every=3, decay_factor=0.5)
        return [
            Update("network", lambda step: list(self.network.parameters()), options, self._loss),
            Update(
                "judge",
                lambda step: list(self.judge.parameters()),
                options,
                self._judge_loss,
                active=lambda step: step % 2 == 0,
            ),
        ]

    def start_step(self, step: int) -> bool:
        self.network.train()
        return step == 4

    def sample(self, generator: np.random.Generator, step: int) -> Sample:
        image = generator.standard_normal((1, 4, 4)).astype(np.float32)
        return {"image": image, "target": image * 2 + np.float32(self._poison)}

    def check(self, batch: Batch) -> None:
        assert batch["image"].shape[1:] == (1, 4, 4)

    def _loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        found = self.network(batch["image"] + 0.1 * torch.randn_like(batch["image"]))
        shared["found"] = found.detach()
        error = (found - batch["target"]).square().mean()
        return weighted_sum({"error": (1.0, error), "judge": (0.1, -self.judge(found).mean())})

    def _judge_loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        return weighted_sum({"judge": (1.0, (self.judge(shared["found"]) - self.judge(batch["target"])).tanh().mean())})

    def evaluate(self, networks: Mapping[str, nn.Module], step: int) -> dict[str, float]:
        return {"validation/error": float(networks["network"](torch.ones(1, 1, 4, 4)).square().mean())}

    def images(self, networks: Mapping[str, nn.Module], step: int) -> NDArray[np.uint8] | None:
        return np.zeros((4, 4, 3), np.uint8)


def toy_config(**options: Any) -> LoopConfig:
    values: dict[str, Any] = {
        "steps": 7,
        "batch_size": 4,
        "accumulation": 2,
        "clip_norm": 1.0,
        "log_every": 3,
        "evaluate_every": 2,
        "images_every": 3,
        "checkpoint_every": 2,
        "keep_checkpoints": 2,
        "tensorboard": False,
        "workers": 1,
    }
    return LoopConfig(**{**values, **options})
