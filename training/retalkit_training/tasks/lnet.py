"""Trainer of L-Net, equations 4 to 7 of S. No trainer of L-Net was published."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

import numpy as np
from numpy.typing import NDArray
from retalkit_renderers.lnet.network import LNet
from retalkit_training.loop.data import TrainingData
from retalkit_training.loop.task import Batch, Sample, Update
from retalkit_training.losses.lnet import LNetLoss
from retalkit_training.losses.terms import LossTerms
from retalkit_training.networks.float32_fourier import keep_fourier_units_in_float32
from retalkit_training.tasks.config import LNetConfig
from retalkit_training.tasks.frozen_weights import FrozenWeights
from retalkit_training.tasks.generators import (
    WindowSampler,
    check_windows,
    evaluate_generator,
    generate,
    generator_images,
)
from retalkit_training.tasks.supervision import perceptual_loss, sync_loss
from torch import Tensor, nn


class LNetTask:
    """Training of L-Net with L1, perceptual and lip-sync loss."""

    name = "lnet"
    best = WindowSampler.best

    def __init__(self, config: LNetConfig, data: TrainingData, weights: FrozenWeights) -> None:
        """Create the network with weights from ``config.seed``, and load the frozen networks.

        Raises:
            RetalkitError: the dataset is unsuitable, or weights are missing.
        """
        self.config, self.data_key = config, data.key
        self._windows = WindowSampler(config, data, config.reference_expression)
        loss = config.loss
        self._sync = sync_loss(config, loss.sync, weights) if loss.sync_weight else None
        perceptual = perceptual_loss(loss.perceptual, weights) if loss.perceptual_weight else None
        self._criterion = LNetLoss(loss, perceptual, self._sync)
        self.network = LNet()
        keep_fourier_units_in_float32(self.network)
        self.networks: Mapping[str, nn.Module] = {"lnet": self.network}
        self.frozen: Sequence[nn.Module] = (self._criterion,)
        self.averages: Mapping[str, float] = {}

    def updates(self) -> Sequence[Update]:
        return [Update("generator", lambda step: list(self.network.parameters()), self.config.optimizer, self._loss)]

    def start_step(self, step: int) -> bool:
        self.network.train()
        return False

    def sample(self, generator: np.random.Generator, step: int) -> Sample:
        return self._windows.sample(generator)

    def check(self, batch: Batch) -> None:
        check_windows(batch)

    def _loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        return self._criterion(generate(self.network, batch), batch["target"], batch["mel"])

    def evaluate(self, networks: Mapping[str, nn.Module], step: int) -> dict[str, float]:
        return evaluate_generator(networks["lnet"], self._windows.validation_batch(), self._sync)

    def images(self, networks: Mapping[str, nn.Module], step: int) -> NDArray[np.uint8] | None:
        return generator_images(networks["lnet"], self._windows.validation_batch())
