"""Audio augmentation: loudness, room acoustics, microphones, noise, and masking of mel bands.

No augmentation shifts the audio in time, so the targets stay aligned. Only the loudness contour changes the targets,
because louder speech has larger mouth openings (Schulman, "Articulatory dynamics of loud and normal speech", JASA
1989).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit_renderers.speech_to_mouth.features import BAND_COUNT, log_mel, network_input
from retalkit_training.speech_to_mouth.corpus import TARGET_COLUMNS, Corpus
from retalkit_training.speech_to_mouth.corpus_synthesis import SAMPLE_RATE, SAMPLES_PER_TARGET, STORED_LEVEL
from retalkit_training.speech_to_mouth.non_speech import BABBLE, POOL_LEVEL, NonSpeechPool

LOWEST_SPEECH, HIGHEST_SPEECH = -38.0, -8.0
"""Level range in dBFS of speech that opens the mouth."""
HIGHEST_BABBLE = -38.0
"""Maximum level in dBFS of babble without a foreground speaker. The mouth stays closed during such babble."""
_REST_JAW = 0.05
WARPS = np.round(np.linspace(0.86, 1.18, 17), 3)
"""Vocal tract length perturbation factors."""

_Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Example:
    """A training example."""

    features: NDArray[np.float32]
    """Features, float32 [2 count, 160]."""
    targets: NDArray[np.float32]
    """Targets, float32 [count, 6]."""


def training_example(
    generator: np.random.Generator,
    corpus: Corpus,
    pool: NonSpeechPool,
    count: int,
    negative_share: float,
    ahead: int,
) -> Example:
    """Return ``count`` targets with their features. ``negative_share``: probability of a non-speech example."""
    if generator.random() < negative_share:
        sound = non_speech_example(generator, pool, count * SAMPLES_PER_TARGET)
        targets = np.zeros((count, TARGET_COLUMNS), np.float32)
        targets[:, 3] = _REST_JAW
    else:
        sound, targets = corpus.random_crop(generator, count)
        sound, targets = augment(generator, sound, targets, pool)
    warp = float(generator.choice(WARPS)) if generator.random() < 0.6 else 1.0
    levels = log_mel(sound, warp)
    if generator.random() < 0.5:
        levels = mask_bands(generator, levels)
    return Example(network_input(levels, ahead), targets)


def augment(
    generator: np.random.Generator, sound: _Sound, targets: NDArray[np.float32], pool: NonSpeechPool
) -> tuple[_Sound, NDArray[np.float32]]:
    """Apply random loudness, room, noise, level, clipping and noise floor without changing the length."""
    if generator.random() < 0.6:
        sound, targets = vary_loudness(generator, sound, targets)
    sound = apply_room_and_filter(generator, sound)
    if generator.random() < 0.75:
        noise, kind = pool.pick(generator, len(sound))
        least = 6.0 if kind == BABBLE else 0.0
        sound = sound + noise * _gain(STORED_LEVEL - POOL_LEVEL - generator.uniform(least, 30.0))
    level = generator.triangular(LOWEST_SPEECH, -22.0, HIGHEST_SPEECH)
    sound = sound * _gain(level - STORED_LEVEL)
    if generator.random() < 0.12:
        peak = float(np.abs(sound).max()) * generator.uniform(0.3, 0.8) + 1e-9
        sound = np.clip(sound, -peak, peak)
    floor = _gain(generator.uniform(-105.0, -62.0))
    sound = sound + floor * generator.standard_normal(len(sound)).astype(np.float32)
    return np.clip(sound, -1.0, 1.0).astype(np.float32), targets


def mask_bands(generator: np.random.Generator, levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mask one or two ranges of up to 14 bands in log-mel levels [T, 80] (Park et al., "SpecAugment", 2019).

    Masking prevents the network from relying on the few bands in which the synthesisers are similar.
    """
    changed = levels.copy()
    for _ in range(int(generator.integers(1, 3))):
        width = int(generator.integers(3, 15))
        first = int(generator.integers(0, BAND_COUNT - width))
        changed[:, first : first + width] = levels.min()
    return changed


def non_speech_example(generator: np.random.Generator, pool: NonSpeechPool, samples: int) -> _Sound:
    """Return non-speech audio, from inaudible to as loud as speech. The mouth stays closed. Babble has a low level."""
    choice = generator.random()
    if choice < 0.1:
        return (_gain(generator.uniform(-110.0, -55.0)) * generator.standard_normal(samples)).astype(np.float32)
    kind = BABBLE if choice < 0.4 else None
    sound, found = pool.pick(generator, samples, kind)
    if generator.random() < 0.5:
        sound = apply_room_and_filter(generator, sound)
    if generator.random() < 0.3:
        other, second = pool.pick(generator, samples)
        sound = sound + other * _gain(generator.uniform(-20.0, 0.0))
        found = BABBLE if BABBLE in (found, second) else found
    sound = sound * (_gain(POOL_LEVEL) / (float(np.sqrt(np.mean(sound**2))) + 1e-9))
    highest = HIGHEST_BABBLE if found == BABBLE else -6.0
    return np.clip(sound * _gain(generator.uniform(-62.0, highest) - POOL_LEVEL), -1.0, 1.0).astype(np.float32)


def vary_loudness(
    generator: np.random.Generator, sound: _Sound, targets: NDArray[np.float32]
) -> tuple[_Sound, NDArray[np.float32]]:
    """Apply a slow loudness contour of -8 to 5 dB, and scale the mouth openings accordingly (3% per dB)."""
    points = int(generator.integers(3, 12))
    decibels = generator.uniform(-8.0, 5.0, points)
    positions = np.linspace(0.0, len(sound), points)
    curve = np.interp(np.arange(len(sound)), positions, decibels)
    changed = targets.copy()
    at_targets = curve[SAMPLES_PER_TARGET // 2 :: SAMPLES_PER_TARGET]
    changed[:, [0, 3]] *= np.clip(1.0 + 0.03 * at_targets, 0.6, 1.3)[:, None]
    return (sound * 10.0 ** (curve / 20.0)).astype(np.float32), changed


def apply_room_and_filter(generator: np.random.Generator, sound: _Sound) -> _Sound:
    """Apply exponentially decaying reverberation and the frequency response of a microphone or telephone."""
    samples = len(sound)
    size = 1 << int(np.ceil(np.log2(samples + 0.5 * SAMPLE_RATE)))
    frequencies = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE)
    response = _frequency_response(generator, frequencies).astype(np.complex64)
    if generator.random() < 0.5:
        length = int(generator.uniform(0.1, 0.5) * SAMPLE_RATE)
        echo = generator.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
        echo[: int(0.002 * SAMPLE_RATE)] = 0.0
        echo *= _gain(-generator.uniform(2.0, 15.0)) / (np.sqrt(np.sum(echo**2)) + 1e-9)
        echo[0] = 1.0
        response = response * np.fft.rfft(echo, size)
    # A zero-phase filter and reverberation that starts at the direct sound preserve the timing.
    return np.fft.irfft(np.fft.rfft(sound, size) * response, size)[:samples].astype(np.float32)


def companded(sound: _Sound) -> _Sound:
    """Return the audio after 8-bit mu-law coding (ITU-T G.711) with full scale at the audio's peak level."""
    peak = np.abs(sound).max() + 1e-9
    code = np.sign(sound) * np.log1p(255.0 * np.abs(sound) / peak) / np.log(256.0)
    code = np.round(code * 127.0) / 127.0
    return (np.sign(code) * (256.0 ** np.abs(code) - 1.0) / 255.0 * peak).astype(np.float32)


def _frequency_response(generator: np.random.Generator, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    decibels = np.zeros_like(frequencies)
    if generator.random() < 0.7:
        decibels += generator.uniform(-4.0, 4.0) * np.log2((frequencies + 100.0) / 1000.0)
    if generator.random() < 0.5:
        points = int(generator.integers(4, 10))
        decibels += np.interp(frequencies, np.linspace(0.0, 8000.0, points), generator.uniform(-7.0, 7.0, points))
    low, high = 0.0, 0.0
    choice = generator.random()
    if choice < 0.12:
        low, high = generator.uniform(200.0, 400.0), generator.uniform(3000.0, 3600.0)
    elif choice < 0.5:
        low, high = generator.uniform(0.0, 250.0), generator.uniform(3800.0, 8000.0)
    if high:
        decibels -= np.clip((frequencies - high) / 10.0, 0.0, 60.0)
        decibels -= np.clip((low - frequencies) / 5.0, 0.0, 30.0)
    decibels -= np.average(decibels, weights=1.0 / (frequencies + 200.0))
    return 10.0 ** (decibels / 20.0)


def _gain(decibels: float) -> float:
    return float(10.0 ** (decibels / 20.0))
