"""Training on synthetic speech and non-speech audio, which are augmented for each example."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import numpy as np
import torch
from retalkit_training.loop.task import Batch, Sample
from retalkit_training.losses.terms import LossTerms
from retalkit_training.speech_to_mouth.augmentation import training_example
from retalkit_training.speech_to_mouth.corpus import Corpus
from retalkit_training.speech_to_mouth.losses import training_loss
from retalkit_training.speech_to_mouth.mouth_task import MouthTask
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork, feature_lookahead
from retalkit_training.speech_to_mouth.non_speech import NonSpeechPool
from retalkit_training.speech_to_mouth.validation import validate
from retalkit_training.tasks.speech_to_mouth_config import SyntheticConfig
from torch import Tensor, nn

_ROWS_PER_SECOND = 50
_OPENING_SCALE = 0.7
_THRESHOLD = 0.3
"""Typical full opening and closure threshold, for evaluations during the training."""


class SyntheticSpeechTask(MouthTask):
    """Training of a network on synthetic speech."""

    name = "speech-to-mouth-synthetic"

    def __init__(
        self,
        config: SyntheticConfig,
        network: SpeechToMouthNetwork,
        corpus: Corpus,
        held_out: Corpus,
        pool: NonSpeechPool,
        data_key: str,
    ) -> None:
        """``corpus`` and ``held_out``: speech of the training voices and of the held-out voices."""
        super().__init__(config, network, data_key)
        self.config = config
        self._corpus, self._held_out, self._pool = corpus, held_out, pool
        self._rows = round(config.seconds * _ROWS_PER_SECOND)
        self._ahead = feature_lookahead(config.lookahead_seconds)

    def sample(self, generator: np.random.Generator, step: int) -> Sample:
        """Return ``features`` [160, 2 J] and ``targets`` [J, 6] of one example."""
        share = self.config.non_speech_share
        example = training_example(generator, self._corpus, self._pool, self._rows, share, self._ahead)
        return {
            "features": np.ascontiguousarray(example.features.T, np.float32),
            "targets": example.targets.astype(np.float32),
        }

    def _loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        outputs: Tensor = self.network(batch["features"])
        with torch.autocast(outputs.device.type, enabled=False):
            return training_loss(outputs, batch["targets"])

    def evaluate(self, networks: Mapping[str, nn.Module], step: int) -> dict[str, float]:
        """Return scores on augmented speech of held-out voices."""
        network = networks["network"]
        assert isinstance(network, SpeechToMouthNetwork)
        crops = self.config.evaluation_crops
        scores = validate(network, self._held_out, self._pool, _OPENING_SCALE, _THRESHOLD, crops, noisy=True)
        return {
            "validation/opening_r": scores.opening,
            "validation/width_r": scores.width,
            "validation/closure_recall": scores.closures_found,
            "validation/closure_precision": scores.closures_right,
            "validation/speech_accuracy": scores.speech,
        }
