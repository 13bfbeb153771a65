"""Levels of the frequency bands that distinguish mouth shapes, and short temporal filters."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from retalkit.stages import SPEECH_RATE

GRID_RATE = 100
"""Number of grid values per second. Value ``i`` is at the time ``i / 100`` s."""

_HOP = SPEECH_RATE // GRID_RATE
_WINDOW = 400
_TRANSFORM = 512
_FLOOR = 1e-11

BANDS: dict[str, tuple[float, float]] = {
    "first_low": (200.0, 450.0),
    "sonorant": (300.0, 1000.0),
    "first_high": (550.0, 1000.0),
    "body": (500.0, 2500.0),
    "second_low": (600.0, 1400.0),
    "second_high": (1800.0, 3000.0),
    "hush": (2200.0, 4000.0),
    "hiss": (4500.0, 7800.0),
}
"""Band limits in Hz. ``first`` and ``second`` are the frequency ranges of the first two formants."""


def sample_range(start: int, stop: int) -> tuple[float, float]:
    """Return the audio range, in seconds, that ``band_levels`` requires for the grid values [start, stop)."""
    half = _WINDOW // 2
    return (start * _HOP - half) / SPEECH_RATE, ((stop - 1) * _HOP + half) / SPEECH_RATE


def band_levels(waveform: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Return the level of each band in dBFS, float64 [V], for the audio in ``sample_range``.

    The level of digital silence is -110.
    """
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(_WINDOW) / _WINDOW)
    frames = sliding_window_view(waveform.astype(np.float64), _WINDOW)[::_HOP]
    powers = np.abs(np.fft.rfft(frames * window, _TRANSFORM, axis=1)) ** 2
    powers *= 2.0 / (_TRANSFORM * np.sum(window**2))
    frequencies = np.arange(_TRANSFORM // 2 + 1) * SPEECH_RATE / _TRANSFORM
    levels: dict[str, NDArray[np.float64]] = {}
    for name, (lowest, highest) in BANDS.items():
        inside = (frequencies >= lowest) & (frequencies < highest)
        levels[name] = 10.0 * np.log10(powers[:, inside].sum(axis=1) + _FLOOR)
    return levels


def hann_smooth(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Return the Hann-weighted mean over ``reach`` values on each side."""
    weights = 0.5 + 0.5 * np.cos(np.pi * np.arange(-reach, reach + 1) / (reach + 1))
    return windows(values, reach, reach) @ (weights / weights.sum())


def windows(values: NDArray[np.float64], before: int, after: int) -> NDArray[np.float64]:
    """Return each value with its neighbours, [V, before + 1 + after]. The ends are padded by repeating the border
    values.
    """
    padded = np.pad(values, (before, after), mode="edge")
    return sliding_window_view(padded, before + 1 + after)


def linear_ramp(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Return a linear ramp that is 0 up to ``low`` and 1 from ``high`` on."""
    return np.clip((values - low) / (high - low), 0.0, 1.0)
