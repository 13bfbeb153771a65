"""Input features of the network, which are a log-mel spectrum with absolute levels and a copy without the channel mean.

Overlapping blocks have identical features up to rounding errors if both blocks include their context. The context of
``log_mel`` is ``LOG_MEL_CONTEXT`` frames on each side. ``network_input`` requires ``INPUT_CONTEXT`` additional frames.
Features of identical blocks are bitwise identical.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

SAMPLE_RATE = 16000
FRAME_RATE = 100
"""Number of frames per second. Frame ``i`` is centred at sample ``i * 160 + 80``, which is at ``i / 100 + 0.005``
seconds.
"""
HOP = SAMPLE_RATE // FRAME_RATE
WINDOW = 400
BAND_COUNT = 80
LOG_MEL_CONTEXT = 1
"""Number of frames (of 160 samples) before and after a block whose audio affects the block's features."""
MEAN_FRAMES = 301
"""Number of frames in the running mean, which covers 3 s and the centre frame."""
INPUT_CONTEXT = MEAN_FRAMES // 2
"""Number of frames before and after a block that the block's running mean includes with the default ``ahead``."""

_TRANSFORM = 512
_LOWEST = 50.0
_HIGHEST = 7800.0
_FLOOR = 1e-6
_SIDE = (WINDOW - HOP) // 2


def log_mel(waveform: NDArray[np.float32], warp: float = 1.0) -> NDArray[np.float32]:
    """Return the natural logarithm of the mel power, float32 [N // 160, 80].

    ``waveform``: audio in [-1, 1] at 16 kHz, float32 [N]. The waveform is padded with silence. The value for digital
    silence is ln 1e-6 = -13.8, and speech at -20 dBFS has values of about -2 to 6. ``warp``: factor that multiplies the
    frequencies at which the spectrum is sampled. Values other than 1 simulate a different vocal tract length in
    training.
    """
    count = len(waveform) // HOP
    if count == 0:
        return np.zeros((0, BAND_COUNT), np.float32)
    padded = np.pad(np.asarray(waveform[: count * HOP], np.float32), _SIDE)
    frames = sliding_window_view(padded, WINDOW)[::HOP]
    spectrum = np.fft.rfft(frames * _hann(), _TRANSFORM, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return np.log(power @ mel_bank(warp) + np.float32(_FLOOR))


def network_input(levels: NDArray[np.float32], ahead: int = INPUT_CONTEXT) -> NDArray[np.float32]:
    """Return network features, float32 [T, 160], for ``log_mel`` output [T, 80].

    The first 80 columns contain the absolute level as (level + 4) / 4. The last 80 columns contain the level minus its
    mean over 301 frames, divided by 4. The first and last frames are repeated at the ends. ``ahead``: number of the 301
    frames that follow the current frame (0 to 300). Networks with a bounded look-ahead use a smaller number.
    """
    if len(levels) == 0:
        return np.zeros((0, 2 * BAND_COUNT), np.float32)
    behind = MEAN_FRAMES - 1 - ahead
    padded = np.pad(levels.astype(np.float64), ((behind + 1, ahead), (0, 0)), mode="edge")
    sums = np.cumsum(padded, axis=0)
    mean = (sums[MEAN_FRAMES:] - sums[:-MEAN_FRAMES]) / MEAN_FRAMES
    absolute = (levels + np.float32(4.0)) / np.float32(4.0)
    relative = ((levels - mean) / 4.0).astype(np.float32)
    return np.concatenate([absolute, relative], axis=1)


@lru_cache(maxsize=64)
def mel_bank(warp: float = 1.0) -> NDArray[np.float32]:
    """Return triangular mel filters, float32 [257, 80].

    The filters have a constant width on the mel scale (O'Shaughnessy 1987) and a minimum width of one bin.
    """
    edges = _hertz(np.linspace(_mel(_LOWEST), _mel(_HIGHEST), BAND_COUNT + 2))
    edges = np.minimum(edges * warp, SAMPLE_RATE / 2.0)
    spacing = SAMPLE_RATE / _TRANSFORM
    bins = np.arange(_TRANSFORM // 2 + 1)[:, None] * spacing
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    # Low bands are narrower than one bin. Without a minimum width, some filters would be empty.
    rise = np.maximum(centre - lower, spacing)
    fall = np.maximum(upper - centre, spacing)
    bank = np.minimum(1.0 - (centre - bins) / rise, 1.0 - (bins - centre) / fall)
    return np.maximum(bank, 0.0).astype(np.float32)


@lru_cache(maxsize=1)
def _hann() -> NDArray[np.float32]:
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def _mel(hertz: float) -> float:
    return 2595.0 * float(np.log10(1.0 + hertz / 700.0))


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
