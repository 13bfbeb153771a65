"""Input features of the network: a log-mel spectrum in absolute level, and a copy without the channel's mean.

Overlapping blocks of one sound give the same numbers up to rounding if both have their context: ``LOG_MEL_CONTEXT``
frames on each side for ``log_mel`` and ``INPUT_CONTEXT`` more for ``network_input``. Equal blocks give equal bits.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

SAMPLE_RATE = 16000
FRAME_RATE = 100
"""Frames per second; frame ``i`` is centred at sample ``i * 160 + 80``, that is at ``i / 100 + 0.005`` seconds."""
HOP = SAMPLE_RATE // FRAME_RATE
WINDOW = 400
BAND_COUNT = 80
LOG_MEL_CONTEXT = 1
"""Frames (of 160 samples) before and after a block whose sound affects the frames of the block."""
MEAN_FRAMES = 301
"""Frames of the running mean: 3 s and the frame itself."""
INPUT_CONTEXT = MEAN_FRAMES // 2
"""Frames before and after a block that its running mean covers, with the default ``ahead``."""

_TRANSFORM = 512
_LOWEST = 50.0
_HIGHEST = 7800.0
_FLOOR = 1e-6
_SIDE = (WINDOW - HOP) // 2


def log_mel(waveform: NDArray[np.float32], warp: float = 1.0) -> NDArray[np.float32]:
    """Return the natural log of mel power, float32 [N // 160, 80]; ``waveform`` is float32 [N] in [-1, 1] at 16 kHz.

    The waveform is padded with silence. Digital silence gives ln 1e-6 = -13.8, speech at -20 dBFS about -2 to 6.
    ``warp`` other than 1 reads the spectrum ``warp`` times higher (in training: another length of the vocal tract).
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
    """Return float32 [T, 160] for the output [T, 80] of ``log_mel``.

    The first 80 columns are (level + 4) / 4 and contain the absolute level. The last 80 are the level minus its mean
    over 301 frames, divided by 4; at both ends the outermost frame is repeated. ``ahead``: how many of the 301 frames
    are after the current one (0 to 300; fewer for a network with a bounded look-ahead).
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
    """Return float32 [257, 80]: triangles equally wide on the mel scale (O'Shaughnessy 1987), at least one bin wide."""
    edges = _hertz(np.linspace(_mel(_LOWEST), _mel(_HIGHEST), BAND_COUNT + 2))
    edges = np.minimum(edges * warp, SAMPLE_RATE / 2.0)
    spacing = SAMPLE_RATE / _TRANSFORM
    bins = np.arange(_TRANSFORM // 2 + 1)[:, None] * spacing
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    # Low bands are narrower than a bin: without a minimum width some would be empty.
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
