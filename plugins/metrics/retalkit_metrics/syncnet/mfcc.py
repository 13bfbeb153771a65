"""Mel-frequency cepstral coefficients (MFCC), computed 100 times per second as in SyncNet's training.

Reference: Davis and Mermelstein, "Comparison of parametric representations for monosyllabic word recognition in
continuously spoken sentences", IEEE TASSP 28, 1980. The parameters are the defaults of python_speech_features 0.6,
which the published code uses: rectangular 25 ms windows every 10 ms, 26 triangular filters from 0 to 8 kHz, and 13
coefficients. The first coefficient is the log energy.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

Float = NDArray[np.float64]

RATE: Final = 16000
"""Sample rate in Hz."""
COEFFICIENTS: Final = 13
STEPS_PER_SECOND: Final = 100

_WINDOW: Final = 400
_HOP: Final = 160
_BINS: Final = 512
_FILTERS: Final = 26
_EMPHASIS: Final = 0.97
_LIFTER: Final = 22
_CHUNK: Final = 2048
"""Maximum number of windows that are computed at a time, which limits the memory use to 8 MB."""


def to_int16_scale(sound: NDArray[np.float32]) -> Float:
    """Return samples in [-1, 1], scaled to the range of 16-bit integers, as float64.

    The first coefficient depends on this scale.
    """
    return np.clip(np.rint(np.asarray(sound, np.float64) * 32768), -32768, 32767)


def mfcc(samples: Float) -> NDArray[np.float32]:
    """Return the MFCCs, float32 [13, 1 + ceil((N - 400) / 160)], with at least one time step.

    ``samples``: audio at 16 kHz, scaled to the range of 16-bit integers, [N]. Time step t covers the samples from 160 t
    to 160 t + 400. The end of the audio is zero-padded.
    """
    count = 1 + max(0, -(-(len(samples) - _WINDOW) // _HOP))
    emphasised = np.zeros((count - 1) * _HOP + _WINDOW)
    emphasised[: len(samples)] = samples
    emphasised[1 : len(samples)] -= _EMPHASIS * samples[:-1]
    windows = np.lib.stride_tricks.sliding_window_view(emphasised, _WINDOW)[::_HOP]
    filters, lift = _filters(), _lift()
    out = np.empty((COEFFICIENTS, count), np.float32)
    for start in range(0, count, _CHUNK):
        power = np.abs(np.fft.rfft(windows[start : start + _CHUNK], _BINS)) ** 2 / _BINS
        bands = np.log(_positive(power @ filters.T))
        coefficients = np.asarray(dct(bands, type=2, axis=1, norm="ortho"))[:, :COEFFICIENTS] * lift
        coefficients[:, 0] = np.log(_positive(power.sum(1)))
        out[:, start : start + _CHUNK] = coefficients.T
    return out


def _positive(values: Float) -> Float:
    return np.where(values == 0, np.finfo(np.float64).eps, values)


def _lift() -> Float:
    """Return the lifter weights, which equalise the magnitudes of the coefficients."""
    return 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / _LIFTER)


def _filters() -> Float:
    """Return triangular filters [26, 257], evenly spaced on the mel scale, with corners at integer bins."""
    mels = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), _FILTERS + 2)
    corners = np.floor((_BINS + 1) * (700 * (10 ** (mels / 2595) - 1)) / RATE)
    bins = np.arange(_BINS // 2 + 1)
    left, top, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (bins - left) / (top - left)
    falling = (right - bins) / (right - top)
    # The published triangles exclude their right corner. The value at this corner is always 0.
    return np.clip(np.where(bins < top, rising, falling), 0, None)
