"""Trainer of Wav2Lip's generator and quality discriminator (Prajwal et al., 2020, ``hq_wav2lip_train.py``)."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit_renderers.wav2lip.network import Wav2LipGenerator
from retalkit_training.loop.data import TrainingData
from retalkit_training.loop.task import Batch, Sample, Update
from retalkit_training.losses.terms import LossTerms, weighted_sum
from retalkit_training.losses.wav2lip import Wav2LipLoss, quality_discriminator_loss
from retalkit_training.networks.quality_discriminator import QualityDiscriminator
from retalkit_training.tasks.config import Wav2LipConfig
from retalkit_training.tasks.frozen_weights import FrozenWeights
from retalkit_training.tasks.generators import (
    WindowSampler,
    check_windows,
    evaluate_generator,
    generate,
    generator_images,
)
from retalkit_training.tasks.supervision import sync_loss
from torch import Tensor, nn


class Wav2LipTask:
    """Training of Wav2Lip's generator with L1, lip-sync and quality loss, and of its discriminator."""

    name = "wav2lip"
    best = WindowSampler.best

    def __init__(self, config: Wav2LipConfig, data: TrainingData, weights: FrozenWeights) -> None:
        """Create the networks with weights from ``config.seed``, and load the frozen expert.

        Raises:
            RetalkitError: the dataset is unsuitable, or weights are missing.
        """
        self.config, self.data_key = config, data.key
        self._windows = WindowSampler(config, data)
        loss = config.loss
        self._started = loss.sync_start is None or not loss.started_sync_weight
        """Whether the lip-sync loss has started."""
        if not self._started and not self._windows.validation:
            raise InputError(
                f"loss.sync_start: {data.name} has no validation speakers, so that the lip-sync loss would never "
                "start; add a speaker, or set loss.sync_start=null",
                code="missing-validation",
            )
        self._sync = sync_loss(config, loss.sync, weights) if loss.started_sync_weight else None
        self._criterion = Wav2LipLoss(config.loss, self._sync)
        self.generator = Wav2LipGenerator(config.channels // 2)
        self.discriminator = QualityDiscriminator(config.channels) if config.loss.quality_weight else None
        networks: dict[str, nn.Module] = {"generator": self.generator}
        if self.discriminator is not None:
            networks["discriminator"] = self.discriminator
        self.networks: Mapping[str, nn.Module] = networks
        self.frozen: Sequence[nn.Module] = (self._criterion,)
        self.averages: Mapping[str, float] = {}

    def updates(self) -> Sequence[Update]:
        config = self.config
        updates = [
            Update("generator", lambda step: list(self.generator.parameters()), config.optimizer, self._generator_loss)
        ]
        if (judge := self.discriminator) is not None:
            updates.append(
                Update(
                    "discriminator",
                    lambda step: list(judge.parameters()),
                    config.discriminator_optimizer,
                    self._discriminator_loss,
                )
            )
        return updates

    def start_step(self, step: int) -> bool:
        for network in self.networks.values():
            network.train()
        return False

    def sample(self, generator: np.random.Generator, step: int) -> Sample:
        return self._windows.sample(generator)

    def check(self, batch: Batch) -> None:
        check_windows(batch)

    def _generator_loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        faces = generate(self.generator, batch)
        shared["faces"] = faces.detach()
        return self._criterion(faces, batch["target"], batch["mel"], self.discriminator, started=self._started)

    def _discriminator_loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        assert self.discriminator is not None
        loss = quality_discriminator_loss(self.discriminator, batch["target"], shared["faces"])
        return weighted_sum({"logistic": (1.0, loss)})

    def evaluate(self, networks: Mapping[str, nn.Module], step: int) -> dict[str, float]:
        return evaluate_generator(networks["generator"], self._windows.validation_batch(), self._sync)

    def task_state(self) -> dict[str, Any]:
        return {"sync_started": self._started}

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        self._started = bool(state.get("sync_started", self._started))

    def after_evaluation(self, values: Mapping[str, float]) -> None:
        """Start the lip-sync loss if the evaluated sync loss is low enough."""
        start = self.config.loss.sync_start
        if start is not None and values.get("validation/sync", math.inf) < start:
            self._started = True

    def images(self, networks: Mapping[str, nn.Module], step: int) -> NDArray[np.uint8] | None:
        return generator_images(networks["generator"], self._windows.validation_batch())
