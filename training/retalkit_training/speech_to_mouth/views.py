"""Precomputed features of augmented audio: log-mel levels, or outputs of the speech encoder.

Features are computed once, because computing the features takes longer than a training step. ``views.npy`` contains
several views of each clip with real lips: the unmodified audio, the audio with a different vocal tract length, and the
audio with simulated rooms, microphones, noise, clipping and codecs. ``synthetic_levels.npy`` and
``synthetic_targets.npy`` contain crops of synthetic speech and non-speech audio. The names of files with encoder
features start with ``encoder_``. Audio is normalised to the reference loudness after the noise is added, with a random
error of a few decibels. Each view depends only on the seed and the view's index.

The encoder requires a waveform, so another vocal tract length is simulated by resampling. The features are then read
at the corresponding times of the resampled audio, so the targets stay aligned.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray
from retalkit.speech.loudness import integrated_loudness, reference_gain
from retalkit_renderers.speech_to_mouth.encoder_features import EncoderFeatures
from retalkit_renderers.speech_to_mouth.features import BAND_COUNT, log_mel
from retalkit_renderers.speech_to_mouth.interface import ENCODER
from retalkit_renderers.speech_to_mouth.moonshine import load_encoder
from retalkit_training.speech_to_mouth.augmentation import (
    WARPS,
    apply_room_and_filter,
    augment,
    companded,
    non_speech_example,
)
from retalkit_training.speech_to_mouth.corpus import TARGET_COLUMNS, Corpus
from retalkit_training.speech_to_mouth.corpus_synthesis import SAMPLE_RATE, SAMPLES_PER_TARGET
from retalkit_training.speech_to_mouth.non_speech import BABBLE, POOL_LEVEL, NonSpeechPool
from retalkit_training.speech_to_mouth.real_lips import RealLips
from retalkit_training.tasks.speech_to_mouth_config import Features, ViewConfig

logger = logging.getLogger(__name__)

Float = NDArray[np.float32]

SYNTHETIC_TARGETS = 250
"""Number of targets in a crop of synthetic speech."""
_CLEAN_VIEWS = 2
_SPEEDS = np.round(np.linspace(0.88, 1.14, 14), 3)
"""Speeds of the resampled audio that the encoder receives."""
_STATISTICS_STRIDE = 20
_LOUDNESS_ERROR = 2.0
"""Standard deviation of the loudness error in dB."""


class Extractor(Protocol):
    """Computation of features."""

    frames: int
    """Number of feature frames per target."""
    channels: int
    warps: NDArray[np.float64]
    """Simulated vocal tract lengths."""

    def __call__(self, sound: Float, warp: float = 1.0) -> Float:
        """Return the features of ``sound``, float32 [frames * targets, channels]."""
        ...


class LogMelExtractor:
    """Computation of log-mel levels."""

    frames = 2
    channels = BAND_COUNT
    warps = WARPS

    def __call__(self, sound: Float, warp: float = 1.0) -> Float:
        return log_mel(sound, warp)


class EncoderExtractor:
    """Computation of outputs of the speech encoder."""

    frames = 1
    warps = _SPEEDS

    def __init__(self, weights: Path = ENCODER) -> None:
        self._encoder = load_encoder(weights)
        self.channels = self._encoder.channels

    def __call__(self, sound: Float, warp: float = 1.0) -> Float:
        times = np.arange(len(sound) // SAMPLES_PER_TARGET) * SAMPLES_PER_TARGET + SAMPLES_PER_TARGET / 2
        heard = sound if warp == 1.0 else soxr.resample(sound, SAMPLE_RATE * warp, SAMPLE_RATE).astype(np.float32)

        def read(start: int, stop: int) -> Float:
            inside = heard[max(start, 0) : max(stop, 0)]
            before = max(-start, 0)
            return np.pad(inside, (before, stop - start - before - len(inside)))

        return EncoderFeatures(self._encoder, len(heard), read).at(times / warp)


class Views:
    """Memory-mapped views."""

    def __init__(self, folder: Path, features: Features = "log_mel") -> None:
        self.features: Features = features
        """Kind of the features."""
        self._real = np.load(folder / _file_name(features, "views"), mmap_mode="r")
        self._synthetic = np.load(folder / _file_name(features, "synthetic_levels"), mmap_mode="r")
        self.synthetic_targets: Float = np.load(folder / _file_name(features, "synthetic_targets"))
        """Targets of all synthetic crops in the column order of ``corpus``, float32 [N, 250, 6]."""

    @property
    def per_clip(self) -> int:
        return int(self._real.shape[0])

    @property
    def frames(self) -> int:
        """Return the number of feature frames per target."""
        return int(self._synthetic.shape[1]) // SYNTHETIC_TARGETS

    def real(self, view: int, first: int, count: int) -> Float:
        """Return the features for ``count`` targets starting at ``first``, float32 [frames * count, channels]."""
        return np.asarray(self._real[view, self.frames * first : self.frames * (first + count)], np.float32)

    def synthetic(self, number: int) -> Float:
        """Return the features of a crop of synthetic speech or non-speech audio, float32 [frames * 250, channels]."""
        return np.asarray(self._synthetic[number], np.float32)

    def statistics(self) -> tuple[Float, Float]:
        """Return the mean and the standard deviation of the features of unchanged clips, float32 [channels] each."""
        sample = np.asarray(self._real[0, ::_STATISTICS_STRIDE], np.float32)
        return sample.mean(axis=0), sample.std(axis=0) + np.float32(1e-4)


def make_views(
    config: ViewConfig,
    lips: RealLips,
    speech: Corpus,
    pool: NonSpeechPool,
    folder: Path,
    features: Features,
    encoder: Path = ENCODER,
) -> Views:
    """Return the views in ``folder``. If the directory contains no views of these features, compute the views.

    ``encoder``: weights of the speech encoder.
    """
    paths = [folder / _file_name(features, name) for name in ("views", "synthetic_levels", "synthetic_targets")]
    if all(path.exists() for path in paths):
        return Views(folder, features)
    extract: Extractor = EncoderExtractor(encoder) if features == "encoder" else LogMelExtractor()
    views_path, levels_path, targets_path = paths
    if not targets_path.exists():
        _make_synthetic(config, speech, pool, extract, levels_path, targets_path)
    if not views_path.exists():
        rows = extract.frames * sum(clip.count for clip in lips.clips)
        with _array(views_path, (config.per_clip, rows, extract.channels)) as views:
            for number, clip in enumerate(lips.clips):
                sound = lips.waveform(clip)
                part = slice(extract.frames * clip.first, extract.frames * (clip.first + clip.count))
                for view in range(config.per_clip):
                    generator = np.random.default_rng([config.seed, number, view])
                    views[view, part] = _real_view(generator, sound, view, pool, extract)
                if number % 200 == 0:
                    logger.info("%s views: clip %d of %d", features, number, len(lips.clips))
    return Views(folder, features)


def _file_name(features: Features, name: str) -> str:
    return f"encoder_{name}.npy" if features == "encoder" else f"{name}.npy"


def _real_view(
    generator: np.random.Generator, sound: Float, view: int, pool: NonSpeechPool, extract: Extractor
) -> Float:
    if view == 0:
        return extract(sound)
    if view < _CLEAN_VIEWS:
        return extract(sound, float(generator.choice(extract.warps)))
    sound = _at_reference(generator, _degraded(generator, sound, pool))
    return extract(sound, float(generator.choice(extract.warps)) if generator.random() < 0.6 else 1.0)


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


def _make_synthetic(
    config: ViewConfig, speech: Corpus, pool: NonSpeechPool, extract: Extractor, levels_path: Path, targets_path: Path
) -> None:
    total = config.synthetic + config.non_speech
    targets = np.zeros((total, SYNTHETIC_TARGETS, TARGET_COLUMNS), np.float32)
    with _array(levels_path, (total, extract.frames * SYNTHETIC_TARGETS, extract.channels)) as levels:
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
            warp = float(generator.choice(extract.warps)) if generator.random() < 0.6 else 1.0
            levels[number] = extract(_at_reference(generator, sound), warp)
    with _array(targets_path, targets.shape, np.float32) as stored:
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
