"""Random groups of examples for the fine-tuning on real lips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from retalkit_renderers.speech_to_mouth.features import BAND_COUNT, network_input
from retalkit_training.loop.task import Sample
from retalkit_training.speech_to_mouth.initial_network import scaled_targets
from retalkit_training.speech_to_mouth.network import feature_lookahead
from retalkit_training.speech_to_mouth.real_lips import COLUMNS, LipClip, RealLips
from retalkit_training.speech_to_mouth.views import SYNTHETIC_TARGETS, Views
from retalkit_training.tasks.speech_to_mouth_config import FineTuningConfig

Float = NDArray[np.float32]


class GroupSampler:
    """Random sampler of groups of examples with real lips, synthetic speech and non-speech audio."""

    def __init__(
        self,
        config: FineTuningConfig,
        clips: Sequence[LipClip],
        lips: RealLips,
        views: Views,
        scales: Mapping[str, float],
    ) -> None:
        """``clips``: clips of ``lips`` to sample. ``scales``: scales of the synthetic targets."""
        self._config, self._clips, self._lips, self._views = config, clips, lips, views
        self._ahead = feature_lookahead(config.lookahead_seconds)
        self._synthetic_targets = scaled_targets(views.synthetic_targets, scales)
        weights = np.sqrt([clip.count for clip in clips])
        self._probabilities = weights / weights.sum()

    def draw(self, generator: np.random.Generator) -> Sample:
        """Return a group with the following arrays, float32:

        * ``features`` [R + S, C, 250 F]: features of R real examples, followed by S synthetic examples, with 160
          channels and 2 frames per target for log-mel features, or 288 channels and 1 frame for encoder features
        * ``targets`` [R, 6, 250]: targets of the real examples in the order of ``real_lips.COLUMNS``
        * ``known`` [R, 250]: 1 for time steps with a target, 0 for padding
        * ``weights`` [R]: loss weights of the real examples
        * ``synthetic_targets`` [S, 250, 6]: targets of the synthetic examples in units of ``MouthMotion``
        """
        config = self._config
        features: list[Float] = []
        targets = np.zeros((config.real, len(COLUMNS), SYNTHETIC_TARGETS), np.float32)
        known = np.zeros((config.real, SYNTHETIC_TARGETS), np.float32)
        weights = np.zeros(config.real, np.float32)
        for row in range(config.real):
            clip = self._clips[int(generator.choice(len(self._clips), p=self._probabilities))]
            found, aims = self._crop(generator, clip)
            length = aims.shape[1]
            missing = SYNTHETIC_TARGETS - length
            padding = ((0, 0), (0, self._views.frames * missing))
            features.append(np.pad(self._jitter(generator, found), padding, mode="edge"))
            targets[row, :, :length] = aims
            known[row, :length] = 1.0
            weights[row] = clip.weight
        count = len(self._synthetic_targets)
        speech = count - int(count * config.non_speech / max(1, config.non_speech + config.synthetic))
        numbers = np.concatenate(
            [generator.integers(0, speech, config.synthetic), generator.integers(speech, count, config.non_speech)]
        ).astype(int)
        for number in numbers:
            features.append(self._jitter(generator, self._inputs(self._views.synthetic(int(number)))))
        return {
            "features": np.stack(features).astype(np.float32),
            "targets": targets,
            "known": known,
            "weights": weights,
            "synthetic_targets": self._synthetic_targets[numbers],
        }

    def _crop(self, generator: np.random.Generator, clip: LipClip) -> tuple[Float, Float]:
        """Return features [C, F L] and targets [6, L] of a random crop. L is at most 250."""
        view = self._view(generator)
        low, high = clip.known_range
        length = min(SYNTHETIC_TARGETS, high - low)
        start = int(generator.integers(low, high - length + 1))
        sound = start - clip.shift
        if self._views.features == "encoder":
            features = self._inputs(self._views.real(view, clip.first + sound, length))
        else:
            # The running mean of the whole clip is required.
            features = self._inputs(self._views.real(view, clip.first, clip.count))
            features = features[:, 2 * sound : 2 * (sound + length)].copy()
        return features, self._lips.targets(clip)[start : start + length].T

    def _view(self, generator: np.random.Generator) -> int:
        if self._views.features == "log_mel" or self._views.per_clip == 1:
            return int(generator.integers(self._views.per_clip))
        if generator.random() < self._config.unchanged_share:
            return 0
        return int(generator.integers(1, self._views.per_clip))

    def _inputs(self, rows: Float) -> Float:
        """Return the features [C, T] for rows of ``Views``."""
        return (rows if self._views.features == "encoder" else network_input(rows, self._ahead)).T.copy()

    def _jitter(self, generator: np.random.Generator, features: Float) -> Float:
        """Return log-mel features with a random loudness offset, masked bands (SpecAugment) and noise.

        The network itself adds noise to encoder features.
        """
        if self._views.features == "encoder":
            return features
        features[:BAND_COUNT] += generator.normal(0.0, self._config.loudness_error)
        if generator.random() < 0.7:
            for _ in range(2):
                width = int(generator.integers(3, 15))
                first = int(generator.integers(0, BAND_COUNT - width))
                features[first : first + width] = features[:BAND_COUNT].min()
                features[BAND_COUNT + first : BAND_COUNT + first + width] = -0.8
        return features + generator.normal(0.0, 0.1, features.shape).astype(np.float32)
