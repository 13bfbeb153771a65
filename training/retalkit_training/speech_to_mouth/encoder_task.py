"""Training of the speech encoder for noisy speech.

The published encoder (the teacher) receives clean speech. A copy (the student) receives the same speech with noise,
music, babble and room acoustics, and is trained to return the features of the clean speech. The training needs the
audio of the corpus only. The student's features of clean speech change little.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.errors import WeightsError
from retalkit_training.loop.task import Batch, BestMetric, Sample, Update
from retalkit_training.losses.terms import LossTerms
from retalkit_training.speech_to_mouth.augmentation import apply_room_and_filter
from retalkit_training.speech_to_mouth.corpus_synthesis import SAMPLE_RATE
from retalkit_training.speech_to_mouth.moonshine_encoder import load_moonshine
from retalkit_training.speech_to_mouth.network import check_features
from retalkit_training.speech_to_mouth.non_speech import POOL_LEVEL, NonSpeechPool
from retalkit_training.speech_to_mouth.real_lips import RealLips
from retalkit_training.tasks.speech_to_mouth_config import EncoderConfig
from torch import Tensor, nn

Float = NDArray[np.float32]

_SPEECH_LEVEL: Final = -24.0
"""Level in dBFS of the speech and of the mixtures."""
_LOUDNESS_ERROR: Final = 2.0
"""Standard deviation of the level of the mixtures in dB."""
_MAX_ERROR: Final = 30.0
"""Limit of the normalised squared error of a feature, because a few features have outliers."""


class EncoderTask:
    """Training of the speech encoder."""

    name = "speech-to-mouth-encoder"
    best = BestMetric("validation/error", "lowest")

    def __init__(self, config: EncoderConfig, lips: RealLips, pool: NonSpeechPool, deviation: Float, key: str) -> None:
        """``deviation``: standard deviation of the features of clean speech, float32 [288]."""
        if config.published is None or not Path(config.published).is_file():
            raise WeightsError(
                f"encoder.published: {config.published or 'not set'}; pass the file that convert_moonshine writes",
                code="missing-weights",
            )
        path = Path(config.published)
        self.config, self.data_key = config, key
        self._teacher = load_moonshine(path).requires_grad_(False)
        self.student = load_moonshine(path)
        self.networks: Mapping[str, nn.Module] = {"network": self.student}
        self.frozen: Sequence[nn.Module] = (self._teacher,)
        self.averages: Mapping[str, float] = {}
        self._lips, self._pool = lips, pool
        self._deviation = torch.from_numpy(deviation)

    def updates(self) -> Sequence[Update]:
        return [Update("network", lambda step: list(self.student.parameters()), self.config.optimizer, self._loss)]

    def start_step(self, step: int) -> bool:
        self.student.train()
        return False

    def sample(self, generator: np.random.Generator, step: int) -> Sample:
        """Return ``clean`` and ``noisy`` speech, float32 [N] each."""
        clean = self._lips.random_waveform(generator, round(self.config.seconds * SAMPLE_RATE))
        noisy = self._degraded(generator, clean)
        level = 10.0 * np.log10(np.mean(np.square(noisy, dtype=np.float64)) + 1e-9)
        gain = 10.0 ** ((_SPEECH_LEVEL - level + generator.normal(0.0, _LOUDNESS_ERROR)) / 20.0)
        return {"clean": clean, "noisy": (noisy * np.float32(gain)).astype(np.float32)}

    def _degraded(self, generator: np.random.Generator, sound: Float) -> Float:
        config = self.config
        if generator.random() < config.unchanged_share:
            return sound
        if generator.random() < config.room_share:
            sound = apply_room_and_filter(generator, sound)
        noise, _ = self._pool.pick(generator, min(len(sound), self._pool.samples))
        ratio = generator.uniform(*config.ratios)
        return sound + np.resize(noise, len(sound)) * np.float32(10.0 ** ((_SPEECH_LEVEL - POOL_LEVEL - ratio) / 20.0))

    def check(self, batch: Batch) -> None:
        check_features(batch["clean"][:, None])

    def _loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        error = self._error(self.student, batch)
        return LossTerms(error, {"error": error.detach()})

    def _error(self, student: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            expected = self._teacher(batch["clean"]).float()
        found = student(batch["noisy"]).float()
        normalised = (found - expected) / self._deviation.to(found)
        return (normalised**2).clamp(max=_MAX_ERROR).mean()

    def evaluate(self, networks: Mapping[str, nn.Module], step: int) -> dict[str, float]:
        """Return the error on fixed mixtures."""
        device = next(networks["network"].parameters()).device
        samples = [
            self.sample(np.random.default_rng([self.config.seed, 7, number]), 0)
            for number in range(self.config.evaluation_crops)
        ]
        batch = {name: torch.from_numpy(np.stack([each[name] for each in samples])).to(device) for name in samples[0]}
        with torch.inference_mode():
            return {"validation/error": float(self._error(networks["network"], batch))}

    def images(self, networks: Mapping[str, nn.Module], step: int) -> NDArray[np.uint8] | None:
        return None
