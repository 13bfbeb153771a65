"""Trainer of Wav2Lip's generator and quality discriminator (Prajwal et al., 2020, ``hq_wav2lip_train.py``)."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

import numpy as np
from numpy.typing import NDArray
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
        self._sync = sync_loss(config, config.loss.sync, weights) if config.loss.sync_weight else None
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
        return self._criterion(faces, batch["target"], batch["mel"], self.discriminator)

    def _discriminator_loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        assert self.discriminator is not None
        loss = quality_discriminator_loss(self.discriminator, batch["target"], shared["faces"])
        return weighted_sum({"logistic": (1.0, loss)})

    def evaluate(self, networks: Mapping[str, nn.Module], step: int) -> dict[str, float]:
        return evaluate_generator(networks["generator"], self._windows.validation_batch(), self._sync)

    def images(self, networks: Mapping[str, nn.Module], step: int) -> NDArray[np.uint8] | None:
        return generator_images(networks["generator"], self._windows.validation_batch())
