"""Test signals: noise, hum, tones, music, babble and synthetic vowels. Mono at 16 kHz, seeded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retalkit.media.sound import open_sound
from scipy.signal import lfilter

RATE = 16000
Sound = NDArray[np.float32]


def load(path: Path) -> Sound:
    """Return the audio of a file at 16 kHz."""
    return np.concatenate(list(open_sound(path).chunks(RATE)))


def level(sound: Sound) -> float:
    """Return the RMS level in dBFS."""
    return float(10.0 * np.log10(np.mean(np.square(sound, dtype=np.float64)) + 1e-20))


def at_level(sound: NDArray[np.floating], decibels: float) -> Sound:
    """Scale a sound to an RMS level in dBFS."""
    return (sound * 10.0 ** ((decibels - level(sound)) / 20.0)).astype(np.float32)


def white(seconds: float, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(int(seconds * RATE))


def pink(seconds: float, seed: int = 0) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(white(seconds, seed))
    return np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1.0), int(seconds * RATE))


def hum(seconds: float, mains: float) -> NDArray[np.float64]:
    times = np.arange(int(seconds * RATE)) / RATE
    return np.sum([np.sin(2 * np.pi * mains * k * times + k) / k**1.2 for k in range(1, 16)], axis=0)


def tone(seconds: float, frequency: float) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)


def _note(kind: str, frequency: float, length: int, generator: np.random.Generator) -> NDArray[np.float64]:
    times = np.arange(length) / RATE
    if kind == "plucked":
        # Karplus and Strong, 1983.
        period = int(RATE / frequency)
        burst = np.zeros(length)
        burst[:period] = generator.uniform(-1.0, 1.0, period)
        feedback = np.zeros(period + 2)
        feedback[[0, period, period + 1]] = 1.0, -0.498, -0.498
        return lfilter([1.0], feedback, burst)
    if kind == "organ":
        edges = np.minimum(1.0, times / 0.03) * np.minimum(1.0, times[::-1] / 0.03)
        shares = {1: 1.0, 2: 0.8, 3: 0.3, 4: 0.6, 6: 0.2, 8: 0.3}
        return edges * sum(share * np.sin(2 * np.pi * frequency * k * times) for k, share in shares.items())
    partials = [
        np.sin(2 * np.pi * frequency * k * times) / k**1.3 * np.exp(-times * (1.5 + 0.7 * k)) for k in range(1, 9)
    ]
    return np.minimum(1.0, times / 0.004) * np.sum(partials, axis=0)


def _drums(length: int, generator: np.random.Generator) -> NDArray[np.float64]:
    track = np.zeros(length + RATE)
    times = np.arange(6000) / RATE
    for beat, start in enumerate(range(0, length, int(RATE * 0.27))):
        hit = 0.3 * generator.standard_normal(6000) * np.exp(-times * 60)
        if beat % 4 == 0:
            hit += 1.5 * np.sin(2 * np.pi * 55 * times) * np.exp(-times * 12)
        if beat % 4 == 2:
            hit += 0.8 * generator.standard_normal(6000) * np.exp(-times * 22)
        track[start : start + 6000] += hit
    return track[:length]


def music(seconds: float, kind: str, broken: bool, drums: bool, seed: int = 0) -> NDArray[np.float64]:
    """Four chords in turn on a ``plucked``, ``organ`` or ``piano`` instrument, as arpeggios if ``broken``."""
    generator = np.random.default_rng(seed)
    length = int(seconds * RATE)
    track = np.zeros(length + RATE)
    chords = [[0, 4, 7, 12], [9, 12, 16, 21], [5, 9, 12, 17], [7, 11, 14, 19]]
    step = int(RATE * (0.25 if broken else 0.8))
    for position, start in enumerate(range(0, length, step)):
        chord = chords[position // (8 if broken else 2) % 4]
        for semitone in [generator.choice(chord)] if broken else chord:
            note = _note(kind, 110.0 * 2 ** (semitone / 12), step, generator)
            track[start : start + step] += note * generator.uniform(0.6, 1.0)
    track = track[:length] / np.abs(track).max()
    return track + 0.6 * _drums(length, generator) if drums else track


def babble(seconds: float, voices: list[Sound], count: int, seed: int = 0) -> NDArray[np.float64]:
    """Mix ``count`` voices from random positions in ``voices``."""
    generator = np.random.default_rng(seed)
    length = int(seconds * RATE)
    mixed = np.zeros(length)
    for index in range(count):
        voice = at_level(voices[index % len(voices)], -20.0)
        looped = np.tile(voice, length // len(voice) + 2)
        start = int(generator.integers(0, len(looped) - length))
        mixed += looped[start : start + length]
    return mixed


def vowel(formants: tuple[float, float, float], seconds: float, pitch: float = 120.0) -> NDArray[np.float64]:
    """A sustained vowel: glottal pulses filtered by formant resonances (Klatt, JASA 1980)."""
    pulses = np.zeros(int(seconds * RATE))
    pulses[:: int(RATE / pitch)] = 1.0
    sound = lfilter([1.0], [1.0, -0.97], pulses)
    for centre, width in zip((*formants, 3500.0), (80.0, 100.0, 130.0, 200.0), strict=True):
        radius = np.exp(-np.pi * width / RATE)
        cosine = 2.0 * radius * np.cos(2 * np.pi * centre / RATE)
        sound = lfilter([1.0 - cosine + radius**2], [1.0, -cosine, radius**2], sound)
    return np.diff(sound, prepend=0.0)


def without_speech(seconds: float) -> dict[str, Sound]:
    """Return sounds without any voice, by name."""
    sounds = {"silence": np.zeros(int(seconds * RATE), np.float32)}
    for decibels in (-10, -20, -35):
        sounds[f"white {decibels}"] = at_level(white(seconds), decibels)
        sounds[f"pink {decibels}"] = at_level(pink(seconds), decibels)
    for mains in (50.0, 60.0):
        sounds[f"hum {mains:.0f} Hz"] = at_level(hum(seconds, mains), -20)
    for frequency in (120.0, 440.0, 1000.0, 3000.0):
        sounds[f"tone {frequency:.0f} Hz"] = at_level(tone(seconds, frequency), -15)
    sounds["modulated noise"] = at_level(white(seconds) * (1.0 + tone(seconds, 4.0)), -20)
    for kind in ("organ", "piano", "plucked"):
        for broken in (False, True):
            sounds[f"{kind}{' arpeggio' if broken else ''}"] = at_level(music(seconds, kind, broken, broken), -16)
    return sounds
