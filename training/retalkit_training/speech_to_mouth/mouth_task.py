"""Parts that the training on synthetic speech and the fine-tuning have in common."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

import numpy as np
from numpy.typing import NDArray
from retalkit_training.averaging import MovingAverage
from retalkit_training.loop.task import Batch, BestMetric, Update
from retalkit_training.losses.terms import LossTerms
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork, check_features
from retalkit_training.tasks.speech_to_mouth_config import FineTuningConfig, SyntheticConfig
from torch import Tensor, nn


class MouthTask:
    """Training of one network with one loss. Subclasses implement the samples, the loss and the evaluation."""

    best = BestMetric("validation/opening_r", "highest")
    frozen: Sequence[nn.Module] = ()

    def __init__(
        self, config: SyntheticConfig | FineTuningConfig, network: SpeechToMouthNetwork, data_key: str
    ) -> None:
        """``data_key``: key of the data and of the initial weights."""
        self.data_key, self.network = data_key, network
        self.networks: Mapping[str, nn.Module] = {"network": network}
        self.averages = {"network": MovingAverage(config.average_decay, buffers=True, from_first_step=True)}
        self._optimizer = config.optimizer

    def updates(self) -> Sequence[Update]:
        return [Update("network", lambda step: list(self.network.parameters()), self._optimizer, self._loss)]

    def start_step(self, step: int) -> bool:
        self.network.train()
        return False

    def check(self, batch: Batch) -> None:
        check_features(batch["features"])

    def images(self, networks: Mapping[str, nn.Module], step: int) -> NDArray[np.uint8] | None:
        return None

    def _loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        raise NotImplementedError
