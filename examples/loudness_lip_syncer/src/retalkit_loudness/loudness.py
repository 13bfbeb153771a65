"""Computation of the mouth opening from speech loudness, from 0 (at rest) to 1 (widest opening)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.stages import SPEECH_RATE, Speech

from retalkit_loudness.plugin import LoudnessLipSyncerConfig

Float = NDArray[np.float32]
Times = NDArray[np.float64]

RATE = 100
"""Number of loudness values per second."""
CHUNK = 10 * RATE
"""Number of loudness values per chunk of audio. At most ten seconds of audio are kept in memory."""
WINDOW = np.array([1, 2, 3, 2, 1]) / 9
"""Smoothing weights for adjacent 10 ms steps. The window is shorter than a syllable and longer than the pitch period of
the lowest voice.
"""
POWER_FLOOR = 1e-10
"""Constant that is added to the power, so that silence has a finite level of -100 dB."""


def opening_from_loudness(speech: Speech, config: LoudnessLipSyncerConfig) -> Float:
    """Return the mouth opening, float32 [N] in [0, 1], with ``RATE`` values per second over the duration of the speech.

    The reference level is the 95th percentile of the level during voice activity. Quiet and loud recordings therefore
    result in comparable mouth motion.
    """
    count = int(np.ceil(speech.duration * RATE)) + 1
    power, active = np.zeros(count), np.zeros(count)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        # Shift the window by half a step to centre each value on its samples.
        samples = speech.waveform((start - 0.5) / RATE, (stop - 0.5) / RATE).astype(np.float64)
        power[start:stop] = np.square(samples).reshape(stop - start, SPEECH_RATE // RATE).mean(1)
        active[start:stop] = speech.activity(np.arange(start, stop) / RATE)
    level = 10 * np.log10(np.convolve(power, WINDOW, "same")[:count] + POWER_FLOOR)
    spoken = active > 0.5
    if not spoken.any():
        return np.zeros(count, np.float32)
    loudest = np.quantile(level[spoken], 0.95)
    return smooth(np.clip(1 + (level - loudest) / config.range_db, 0, 1) * active, config.attack, config.release)


def smooth(values: Times, attack: float, release: float) -> Float:
    """Return the smoothed ``values``, float32 [N].

    ``values``: float64 [N]. ``attack`` and ``release``: time constants in seconds for rising and falling values.
    """
    rise, fall = (1 - np.exp(-1 / (RATE * max(seconds, 1e-6))) for seconds in (attack, release))
    out, now = np.empty(len(values), np.float32), 0.0
    for index, value in enumerate(values.tolist()):
        now += (value - now) * (rise if value > now else fall)
        out[index] = now
    return out


def opening_at(openings: Float, times: Times) -> Float:
    """Return the openings interpolated at ``times``, float32 [T].

    ``times``: float64 [T] in seconds. The opening is 0 before the start and after the end of the speech.
    """
    grid = np.arange(len(openings)) / RATE
    return np.interp(times, grid, openings, left=0.0, right=0.0).astype(np.float32)
