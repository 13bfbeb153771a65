"""Precomputed log-mel features of augmented audio.

Features are computed once, because computing the features takes longer than a training step. ``views.npy`` contains
several views of each clip with real lips: the unmodified audio, the audio with a different vocal tract length, and the
audio with simulated rooms, microphones, noise, clipping and codecs. ``synthetic_levels.npy`` and
``synthetic_targets.npy`` contain crops of synthetic speech and non-speech audio. Audio is normalised to the reference
loudness after the noise is added, with a random error of a few decibels. Each view depends only on the seed and the
view's index.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retalkit.speech.loudness import integrated_loudness, reference_gain
from retalkit_renderers.speech_to_mouth.features import BAND_COUNT, log_mel
from retalkit_training.speech_to_mouth.augmentation import (
    WARPS,
    apply_room_and_filter,
    augment,
    companded,
    non_speech_example,
)
from retalkit_training.speech_to_mouth.corpus import TARGET_COLUMNS, Corpus
from retalkit_training.speech_to_mouth.corpus_synthesis import SAMPLES_PER_TARGET
from retalkit_training.speech_to_mouth.non_speech import BABBLE, POOL_LEVEL, NonSpeechPool
from retalkit_training.speech_to_mouth.real_lips import RealLips
from retalkit_training.tasks.speech_to_mouth_config import ViewConfig

logger = logging.getLogger(__name__)

Float = NDArray[np.float32]

SYNTHETIC_TARGETS = 250
"""Number of targets in a crop of synthetic speech."""
_CLEAN_VIEWS = 2
_LOUDNESS_ERROR = 2.0
"""Standard deviation of the loudness error in dB."""


class Views:
    """Memory-mapped views."""

    def __init__(self, folder: Path) -> None:
        self._real = np.load(folder / "views.npy", mmap_mode="r")
        self._synthetic = np.load(folder / "synthetic_levels.npy", mmap_mode="r")
        self.synthetic_targets: Float = np.load(folder / "synthetic_targets.npy")
        """Targets of all synthetic crops in the column order of ``corpus``, float32 [N, 250, 6]."""

    @property
    def per_clip(self) -> int:
        return int(self._real.shape[0])

    def real(self, view: int, first: int, count: int) -> Float:
        """Return the log-mel levels for ``count`` targets starting at ``first``, float32 [2 * count, 80]."""
        return np.asarray(self._real[view, 2 * first : 2 * (first + count)], np.float32)

    def synthetic(self, number: int) -> Float:
        """Return the log-mel levels of a crop of synthetic speech or non-speech audio, float32 [500, 80]."""
        return np.asarray(self._synthetic[number], np.float32)


def make_views(config: ViewConfig, lips: RealLips, speech: Corpus, pool: NonSpeechPool, folder: Path) -> Views:
    """Return the views in ``folder``. If the directory contains no views, compute the views."""
    if not (folder / "synthetic_targets.npy").exists():
        _make_synthetic(config, speech, pool, folder)
    if not (folder / "views.npy").exists():
        rows = sum(clip.count for clip in lips.clips)
        with _array(folder / "views.npy", (config.per_clip, 2 * rows, BAND_COUNT)) as views:
            for number, clip in enumerate(lips.clips):
                sound = lips.waveform(clip)
                for view in range(config.per_clip):
                    levels = _real_view(np.random.default_rng([config.seed, number, view]), sound, view, pool)
                    views[view, 2 * clip.first : 2 * (clip.first + clip.count)] = levels
                if number % 200 == 0:
                    logger.info("views: clip %d of %d", number, len(lips.clips))
    return Views(folder)


def _real_view(generator: np.random.Generator, sound: Float, view: int, pool: NonSpeechPool) -> Float:
    if view == 0:
        return log_mel(sound)
    if view < _CLEAN_VIEWS:
        return log_mel(sound, float(generator.choice(WARPS)))
    sound = _at_reference(generator, _degraded(generator, sound, pool))
    return log_mel(sound, float(generator.choice(WARPS)) if generator.random() < 0.6 else 1.0)


def _degraded(generator: np.random.Generator, sound: Float, pool: NonSpeechPool) -> Float:
    sound = apply_room_and_filter(generator, sound)
    if generator.random() < 0.8:
        noise, kind = pool.pick(generator, min(len(sound), pool.samples))
        lowest = 0.0 if kind == BABBLE else -3.0
        # The exponent makes low signal-to-noise ratios more frequent.
        level = POOL_LEVEL + lowest + (30.0 - lowest) * generator.random() ** 1.4
        # The level of the speech is about -24 dBFS, and the level of the noise is POOL_LEVEL.
        sound = sound + np.resize(noise, len(sound)) * np.float32(10.0 ** ((-24.0 - level) / 20.0))
    if generator.random() < 0.12:
        peak = float(np.abs(sound).max()) * generator.uniform(0.3, 0.8) + 1e-9
        sound = np.clip(sound, -peak, peak)
    if generator.random() < 0.1:
        sound = companded(sound)
    floor = 10.0 ** (generator.uniform(-105.0, -62.0) / 20.0)
    return (sound + floor * generator.standard_normal(len(sound))).astype(np.float32)


def _make_synthetic(config: ViewConfig, speech: Corpus, pool: NonSpeechPool, folder: Path) -> None:
    total = config.synthetic + config.non_speech
    targets = np.zeros((total, SYNTHETIC_TARGETS, TARGET_COLUMNS), np.float32)
    with _array(folder / "synthetic_levels.npy", (total, 2 * SYNTHETIC_TARGETS, BAND_COUNT)) as levels:
        for number in range(total):
            generator = np.random.default_rng([config.seed, 1, number])
            if number < config.synthetic:
                sound, known = speech.random_crop(generator, SYNTHETIC_TARGETS)
                sound, known = augment(generator, sound, known, pool)
                targets[number] = known
            else:
                sound = non_speech_example(generator, pool, SYNTHETIC_TARGETS * SAMPLES_PER_TARGET)
                targets[number, :, 3] = 0.05
                if generator.random() < 0.06:
                    sound = np.zeros_like(sound)
            warp = float(generator.choice(WARPS)) if generator.random() < 0.6 else 1.0
            levels[number] = log_mel(_at_reference(generator, sound), warp)
    with _array(folder / "synthetic_targets.npy", targets.shape, np.float32) as stored:
        stored[:] = targets
    logger.info("views: %d crops of synthetic speech, %d of non-speech audio", config.synthetic, config.non_speech)


def _at_reference(generator: np.random.Generator, sound: Float) -> Float:
    error = 10.0 ** (generator.normal(0.0, _LOUDNESS_ERROR) / 20.0)
    return (sound * np.float32(reference_gain(integrated_loudness(sound)) * error)).astype(np.float32)


@contextmanager
def _array(path: Path, shape: tuple[int, ...], kind: type[np.floating[Any]] = np.float16) -> Generator[Any]:
    """Yield a new memory-mapped array. The file is renamed to ``path`` after the context exits."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part.npy")
    array = np.lib.format.open_memmap(temporary, "w+", kind, shape)
    yield array
    array.flush()
    del array
    temporary.replace(path)
