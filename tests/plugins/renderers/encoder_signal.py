"""A signal for tests of the speech encoder."""

from __future__ import annotations

import numpy as np


def vowel_like_sound(seconds: float = 1.0) -> np.ndarray:
    """Return harmonics of a gliding pitch with three moving resonances, float32 [seconds * 16000]."""
    times = np.arange(round(seconds * 16000)) / 16000.0
    pitch = 120.0 + 30.0 * np.sin(2 * np.pi * 1.5 * times)
    phase = 2 * np.pi * np.cumsum(pitch) / 16000.0
    glide = 0.5 - 0.5 * np.cos(2 * np.pi * 2.0 * times)
    resonances = (300.0 + 500.0 * glide, 2300.0 - 1100.0 * glide, 2600.0 + 0.0 * times)
    sound = np.zeros(len(times))
    for number in range(1, 30):
        gain = sum(1.0 / (1.0 + ((number * pitch - centre) / 90.0) ** 2) for centre in resonances)
        sound += gain * np.sin(number * phase)
    return (0.1 * sound * (0.6 + 0.4 * np.sin(2 * np.pi * 3.0 * times))).astype(np.float32)
