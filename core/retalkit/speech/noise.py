"""Synthetic background signals that must not cause mouth motion: silence, white noise, hum, music and babble.

Signals are mono float32 at 16 kHz and deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retalkit.stages import SPEECH_RATE

Sound = NDArray[np.float32]

LEVEL = -40.0
"""Default RMS level in dBFS for all signals except silence."""
SECONDS = 12.0
"""Default duration in seconds."""
_VOICES = 6


def backgrounds(voices: Sequence[Sound], seconds: float = SECONDS, level: float = LEVEL) -> dict[str, Sound]:
    """Return a mapping from name to background signal.

    ``voices``: speech recordings at 16 kHz that are mixed to create babble. If ``voices`` is empty, babble is omitted.
    """
    sounds = {
        "silence": np.zeros(round(seconds * SPEECH_RATE), np.float32),
        "white": at_level(np.random.default_rng(0).standard_normal(round(seconds * SPEECH_RATE)), level),
        "hum": at_level(_hum(seconds), level),
        "music": at_level(_music(seconds), level),
    }
    audible = [voice for voice in voices if len(voice) and np.abs(voice).max() > 0]
    if audible:
        sounds["babble"] = at_level(_babble(seconds, audible), level)
    return sounds


def at_level(sound: NDArray[Any], level: float) -> Sound:
    """Scale a signal to an RMS level of ``level`` dBFS. Digital silence is returned unchanged."""
    power = float(np.mean(np.square(sound, dtype=np.float64)))
    return (sound * (10.0 ** (level / 20.0) / np.sqrt(power)) if power > 0 else sound).astype(np.float32)


def _times(seconds: float) -> NDArray[np.float64]:
    return np.arange(round(seconds * SPEECH_RATE)) / SPEECH_RATE


def _hum(seconds: float) -> NDArray[np.float64]:
    """Return mains hum at 50 Hz with harmonics."""
    times = _times(seconds)
    return np.sum([np.sin(2 * np.pi * 50.0 * order * times + order) / order for order in range(1, 13)], axis=0)


def _music(seconds: float) -> NDArray[np.float64]:
    """Return a sequence of four chords with an onset every half second, decaying overtones and a bass note."""
    times = _times(seconds)
    track = np.zeros(len(times))
    step = SPEECH_RATE // 2
    chords = ((0, 4, 7, 12), (9, 12, 16, 21), (5, 9, 12, 17), (7, 11, 14, 19))
    for number, start in enumerate(range(0, len(times), step)):
        local = times[: min(step, len(times) - start)]
        for semitone in (*chords[number // 2 % 4], chords[number // 2 % 4][0] - 12):
            pitch = 220.0 * 2.0 ** (semitone / 12.0)
            for order in range(1, 7):
                strength = np.exp(-local * (2.0 + order)) / order
                track[start : start + len(local)] += strength * np.sin(2 * np.pi * pitch * order * local)
    return track


def _babble(seconds: float, voices: Sequence[Sound]) -> NDArray[np.float64]:
    """Mix six voices at equal level, with start offsets distributed over the recordings."""
    count = round(seconds * SPEECH_RATE)
    mixed = np.zeros(count)
    for number in range(_VOICES):
        voice = at_level(voices[number % len(voices)], -20.0)
        start = number * len(voice) // _VOICES
        mixed += np.resize(np.roll(voice, -start), count)
    return mixed
