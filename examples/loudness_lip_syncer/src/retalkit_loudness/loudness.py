"""How loud the speech is at each moment, on the scale of the mouth: 0 closed, 1 as wide as it gets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.stages import SPEECH_RATE, Speech

from retalkit_loudness.plugin import LoudnessLipSyncerConfig

Float = NDArray[np.float32]
Times = NDArray[np.float64]

RATE = 100
"""Values of loudness a second."""
CHUNK = 10 * RATE
"""Values that are computed at once: no more than ten seconds of sound are held."""
WINDOW = np.array([1, 2, 3, 2, 1]) / 9
"""Weights of the 10 ms steps around a value: short enough for a syllable, long enough for the lowest voice."""
SILENT = 1e-10
"""Power that is added, so that the loudness of silence is a number (-100 dB)."""


def mouth_by_loudness(speech: Speech, config: LoudnessLipSyncerConfig) -> Float:
    """float32 [N] in [0, 1], ``RATE`` values a second from 0 to the end of the speech: how far the mouth opens.

    The 95th percentile of the loudness while somebody speaks counts as the loudest, so that quiet and loud recordings
    move the mouth alike.
    """
    count = int(np.ceil(speech.duration * RATE)) + 1
    power, active = np.zeros(count), np.zeros(count)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        # Half a step early, so that a value stands in the middle of the sound that it tells of.
        heard = speech.waveform((start - 0.5) / RATE, (stop - 0.5) / RATE).astype(np.float64)
        power[start:stop] = np.square(heard).reshape(stop - start, SPEECH_RATE // RATE).mean(1)
        active[start:stop] = speech.activity(np.arange(start, stop) / RATE)
    level = 10 * np.log10(np.convolve(power, WINDOW, "same")[:count] + SILENT)
    spoken = active > 0.5
    if not spoken.any():
        return np.zeros(count, np.float32)
    loudest = np.quantile(level[spoken], 0.95)
    return smoothed(np.clip(1 + (level - loudest) / config.range_db, 0, 1) * active, config.attack, config.release)


def smoothed(values: Times, attack: float, release: float) -> Float:
    """``values`` float64 [N] followed fast upwards (``attack`` seconds) and slower downwards (``release``)."""
    rise, fall = (1 - np.exp(-1 / (RATE * max(seconds, 1e-6))) for seconds in (attack, release))
    out, now = np.empty(len(values), np.float32), 0.0
    for index, value in enumerate(values.tolist()):
        now += (value - now) * (rise if value > now else fall)
        out[index] = now
    return out


def at_times(mouth: Float, times: Times) -> Float:
    """The values at float64 [T] seconds, float32 [T]; closed before the speech and after it."""
    grid = np.arange(len(mouth)) / RATE
    return np.interp(times, grid, mouth, left=0.0, right=0.0).astype(np.float32)
