"""Synthetic audio for which the mouth stays closed: noise, hum, tones, music, knocks and babble."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retalkit_training.speech_to_mouth.corpus import Corpus
from retalkit_training.speech_to_mouth.corpus_synthesis import SAMPLE_RATE, SAMPLES_PER_TARGET

logger = logging.getLogger(__name__)

KINDS = ("noise", "hum", "tones", "music", "knocks", "babble")
BABBLE = KINDS.index("babble")
POOL_LEVEL = -26.0
"""Level of every stored clip in dBFS."""
_SHARES = (0.26, 0.08, 0.08, 0.26, 0.04, 0.28)

_Sound = NDArray[np.float64]


class NonSpeechPool:
    """Memory-mapped clips of equal length, int16 [K, N], and the kind of each clip."""

    def __init__(self, folder: Path) -> None:
        self._clips = np.load(folder / "negatives.npy", mmap_mode="r")
        self.kinds: NDArray[np.int64] = np.load(folder / "negative_kinds.npy")

    @property
    def samples(self) -> int:
        """Number of samples per clip."""
        return int(self._clips.shape[1])

    def pick(
        self, generator: np.random.Generator, samples: int, kind: int | None = None
    ) -> tuple[NDArray[np.float32], int]:
        """Return a random crop at ``POOL_LEVEL`` and its kind."""
        candidates = np.arange(len(self.kinds)) if kind is None else np.flatnonzero(self.kinds == kind)
        row = int(generator.choice(candidates))
        start = int(generator.integers(self._clips.shape[1] - samples + 1))
        piece = self._clips[row, start : start + samples].astype(np.float32) / 32767.0
        return piece * (1.0 if generator.random() < 0.5 else -1.0), int(self.kinds[row])


def make_pool(folder: Path, corpus: Corpus, clips: int, seconds: float, seed: int) -> None:
    """Write the pool unless it exists."""
    if (folder / "negative_kinds.npy").exists():
        return
    generator = np.random.default_rng([seed, 77])
    # The clip length is a multiple of the target length, so that a full-length crop fits.
    samples = round(seconds * SAMPLE_RATE) // SAMPLES_PER_TARGET * SAMPLES_PER_TARGET
    counts = np.maximum(1, np.round(np.array(_SHARES) * clips)).astype(int)
    kinds = np.repeat(np.arange(len(KINDS)), counts)
    sounds = np.zeros((len(kinds), samples), np.int16)
    for row, kind in enumerate(kinds):
        sound = _babble(generator, corpus, samples) if kind == BABBLE else _MAKERS[kind](generator, samples)
        sound = sound * (10.0 ** (POOL_LEVEL / 20.0) / (np.sqrt(np.mean(sound**2)) + 1e-9))
        sounds[row] = np.clip(np.round(sound * 32767.0), -32768, 32767)
    for name, values in (("negatives.npy", sounds), ("negative_kinds.npy", kinds)):
        temporary = folder / f"{name}.{os.getpid()}.part.npy"
        np.save(temporary, values)
        temporary.replace(folder / name)
    logger.info("non-speech: %d clips of %.1f s", len(kinds), samples / SAMPLE_RATE)


def _noise(generator: np.random.Generator, samples: int) -> _Sound:
    """Return noise between white and brown with a constant or varying level."""
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    slope = generator.choice([0.0, 0.5, generator.uniform(-0.2, 1.2)])
    sound = np.fft.irfft(spectrum * (np.arange(len(spectrum)) + 20.0) ** -slope, samples)
    if generator.random() < 0.4:
        sound *= _contour(generator, samples, int(generator.integers(4, 60)), 0.05, 1.0)
    return sound


def _hum(generator: np.random.Generator, samples: int) -> _Sound:
    base = generator.choice([50.0, 60.0, generator.uniform(40.0, 240.0)])
    times = np.arange(samples) / SAMPLE_RATE
    sound = np.zeros(samples)
    for harmonic in range(1, int(generator.integers(3, 25))):
        sound += (
            np.sin(2 * np.pi * base * harmonic * times + generator.uniform(0, 6.3))
            * generator.uniform(0.1, 1.0)
            / (harmonic ** generator.uniform(0.3, 1.5))
        )
    return sound + 0.02 * generator.standard_normal(samples)


def _tones(generator: np.random.Generator, samples: int) -> _Sound:
    """Return constant, gliding or pulsed sine tones."""
    sound = np.zeros(samples)
    for _ in range(int(generator.integers(1, 4))):
        pitch = np.exp(generator.uniform(np.log(80), np.log(4000)))
        slide = _contour(generator, samples, int(generator.integers(2, 8)), 0.7, 1.4)
        if generator.random() < 0.5:
            slide[:] = 1.0
        level = _contour(generator, samples, int(generator.integers(2, 30)), 0.0, 1.0)
        sound += level * np.sin(2 * np.pi * np.cumsum(pitch * slide) / SAMPLE_RATE)
    return sound


def _music(generator: np.random.Generator, samples: int) -> _Sound:
    """Return chords, arpeggios, bass and percussion on a common beat."""
    sound = np.zeros(samples)
    beat = generator.uniform(0.25, 0.6)
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if generator.random() < 0.5 else [0, 2, 3, 5, 7, 8, 10])
    root = 110.0 * 2.0 ** (generator.integers(12) / 12.0)
    harmonics = int(generator.integers(2, 9))
    tilt, decay = generator.uniform(0.6, 2.0), generator.uniform(0.3, 6.0)
    parts = generator.random(4) < (0.7, 0.6, 0.5, 0.6)
    parts[int(generator.integers(3))] = True
    step = 0
    while step * beat * SAMPLE_RATE < samples:
        start = int(step * beat * SAMPLE_RATE)
        degree = int(generator.integers(7))
        chord = [root * 2.0 ** (scale[(degree + k) % 7] / 12.0 + (degree + k) // 7) for k in (0, 2, 4)]
        if parts[0] and step % 2 == 0:
            for pitch in chord:
                _add_note(sound, start, 2.2 * beat, pitch * 2, harmonics, tilt, decay, 0.5)
        if parts[1]:
            for k in range(2):
                pitch = chord[int(generator.integers(3))] * float(generator.choice([2.0, 4.0]))
                _add_note(sound, start + int(k * beat / 2 * SAMPLE_RATE), beat, pitch, harmonics, tilt, decay, 0.6)
        if parts[2] and step % 2 == 0:
            _add_note(sound, start, 1.8 * beat, chord[0] / 2.0, 5, 1.0, 2.0, 0.9)
        if parts[3]:
            _add_hit(generator, sound, start, step % 4)
        step += 1
    return sound + 1e-4 * generator.standard_normal(samples)


def _knocks(generator: np.random.Generator, samples: int) -> _Sound:
    """Return impulsive sounds such as claps, keystrokes and footsteps."""
    sound = 0.002 * generator.standard_normal(samples)
    for _ in range(int(generator.integers(4, 40))):
        length = int(generator.uniform(0.01, 0.12) * SAMPLE_RATE)
        start = int(generator.integers(samples - length))
        decay = np.exp(-np.arange(length) / (length / 5.0))
        tone = np.sin(2 * np.pi * generator.uniform(100, 3000) * np.arange(length) / SAMPLE_RATE)
        share = generator.random()
        hit = (share * tone + (1 - share) * generator.standard_normal(length)) * decay
        sound[start : start + length] += hit * generator.uniform(0.1, 1.0)
    return sound


def _babble(generator: np.random.Generator, corpus: Corpus, samples: int) -> _Sound:
    """Return 4 to 12 continuous voices of similar level."""
    sound = np.zeros(samples)
    for _ in range(int(generator.integers(4, 13))):
        level = generator.uniform(0.6, 1.0)
        position = 0
        while position < samples:
            voice, targets = corpus.utterance(int(generator.integers(len(corpus))))
            # Trim the silence around the speech, so that the number of voices is constant.
            speaking = np.flatnonzero(targets[:, 4] > 0.5)
            voice = voice[speaking[0] * SAMPLES_PER_TARGET : (speaking[-1] + 1) * SAMPLES_PER_TARGET]
            if position == 0:
                voice = voice[int(generator.integers(len(voice) // 2 + 1)) :]
            part = voice[: samples - position]
            sound[position : position + len(part)] += level * part
            position += len(part)
    return sound


_MAKERS = (_noise, _hum, _tones, _music, _knocks)


def _contour(generator: np.random.Generator, samples: int, points: int, low: float, high: float) -> _Sound:
    positions = np.linspace(0, samples - 1, max(2, points))
    return np.interp(np.arange(samples), positions, generator.uniform(low, high, len(positions)))


def _add_note(
    sound: _Sound, start: int, seconds: float, pitch: float, harmonics: int, tilt: float, decay: float, level: float
) -> None:
    length = min(int(seconds * SAMPLE_RATE), len(sound) - start)
    if length <= 0:
        return
    times = np.arange(length) / SAMPLE_RATE
    envelope = np.exp(-times * decay) * np.minimum(1.0, times / 0.01) * np.minimum(1.0, times[::-1] / 0.02)
    for harmonic in range(1, harmonics + 1):
        if pitch * harmonic > 7500.0:
            break
        sound[start : start + length] += (
            level / harmonic**tilt * envelope * np.sin(2 * np.pi * pitch * harmonic * times)
        )


def _add_hit(generator: np.random.Generator, sound: _Sound, start: int, beat: int) -> None:
    length = min(int(0.2 * SAMPLE_RATE), len(sound) - start)
    if length <= 0:
        return
    times = np.arange(length) / SAMPLE_RATE
    if beat == 0:
        hit = np.sin(2 * np.pi * (50.0 + 60.0 * np.exp(-times * 30.0)) * times) * np.exp(-times * 15.0) * 1.5
    elif beat == 2:
        hit = generator.standard_normal(length) * np.exp(-times * 20.0)
    else:
        hit = np.diff(generator.standard_normal(length + 1)) * np.exp(-times * 60.0) * 0.5
    sound[start : start + length] += hit
