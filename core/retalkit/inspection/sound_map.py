"""Level and pauses of the speech."""

from __future__ import annotations

from typing import Final

import numpy as np

from retalkit.inspection.model import SpeechInfo
from retalkit.stages import Speech

_MOST_LEVELS: Final = 900
_SHORTEST_STEP: Final = 0.01
_RATE: Final = 50
"""Values of the voice activity that are read per second."""
_CHUNK: Final = 30.0
"""Seconds of speech that are read at a time."""
_ACTIVE: Final = 0.5
"""Voice activity from which the speech moves the mouth visibly."""


def describe_speech(name: str, speech: Speech, note: str) -> SpeechInfo:
    """Return the level and the parts with speech. ``note``: note of the speech step, or an empty string."""
    step = max(_SHORTEST_STEP, speech.duration / _MOST_LEVELS)
    count = max(int(np.ceil(speech.duration / step)), 1)
    levels = np.zeros(count)
    block = max(int(_CHUNK / step), 1)
    for first in range(0, count, block):
        for number in range(first, min(first + block, count)):
            samples = speech.waveform(number * step, min((number + 1) * step, speech.duration))
            levels[number] = float(np.abs(samples).max(initial=0.0))
    return SpeechInfo(
        name=name,
        duration=speech.duration,
        loudness=speech.loudness,
        step=step,
        levels=tuple(round(float(level), 4) for level in np.clip(levels, 0, 1)),
        active=_active_parts(speech),
        note=note,
    )


def _active_parts(speech: Speech) -> tuple[tuple[float, float], ...]:
    count = max(int(np.ceil(speech.duration * _RATE)), 1)
    times = np.arange(count) / _RATE
    size = int(_CHUNK * _RATE)
    parts = [speech.activity(times[first : first + size]) for first in range(0, count, size)]
    active = np.concatenate([[False], np.concatenate(parts) > _ACTIVE, [False]])
    edges = np.flatnonzero(active[1:] != active[:-1]) / _RATE
    limited = np.minimum(edges, speech.duration).reshape(-1, 2)
    return tuple((round(float(start), 3), round(float(end), 3)) for start, end in limited if end > start)
