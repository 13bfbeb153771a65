"""Gain and look-ahead peak limiter for streamed audio."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import resample_poly

from retalkit.media.track_source import TrackSource

CEILING = 10.0 ** (-1.0 / 20.0)
"""Maximum true peak, -1 dBTP (EBU R 128)."""
_WINDOW = 0.01
"""Seconds before and after a peak over which the gain falls and rises."""
_OVERSAMPLING = 4
_FILTER_REACH = 40
"""Samples on both sides of a sample that affect the oversampled values."""


class LimitedSound:
    """Audio multiplied by a gain. Peaks above -1 dBTP are attenuated smoothly."""

    def __init__(self, source: TrackSource, gain: float, *, limit: bool = True) -> None:
        """Initialise the sound.

        ``gain``: linear gain. ``limit``: whether peaks are limited. If False, the only change is the gain.
        """
        self._source = source
        self._gain = np.float32(gain)
        self._limit = limit
        self.rate = source.rate
        self.layout = source.layout

    def length_at(self, rate: int) -> int:
        return self._source.length_at(rate)

    def native_chunks(self, rate: int) -> Iterator[NDArray[np.float32]]:
        """Yield ``length_at(rate)`` samples, float32 [N, channels]."""
        blocks = (block * self._gain for block in self._source.native_chunks(rate))
        return limit_peaks(blocks, rate) if self._limit else blocks


def true_peaks(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest absolute value of all channels around each sample, float32 [N], of float32 [N, channels].

    The samples are oversampled by a factor of 4 as described in ITU-R BS.1770-4, Annex 2.
    """
    if not len(samples):
        return np.zeros(0, np.float32)
    oversampled = np.asarray(resample_poly(samples, _OVERSAMPLING, 1, axis=0))
    between = np.abs(oversampled).max(axis=1).reshape(-1, _OVERSAMPLING).max(axis=1)
    return np.maximum(between, np.abs(samples).max(axis=1)).astype(np.float32)


def limit_peaks(
    blocks: Iterator[NDArray[np.float32]], rate: int, ceiling: float = CEILING
) -> Iterator[NDArray[np.float32]]:
    """Attenuate the surroundings of peaks above ``ceiling``. The output has no delay, and equals the input far from
    peaks."""
    window = max(round(_WINDOW * rate), 1)
    reach = 2 * window + _FILTER_REACH
    held: NDArray[np.float32] | None = None
    done = 0
    for block in blocks:
        if held is None:
            held, done = np.zeros((reach, block.shape[1]), dtype=np.float32), reach
        held = np.concatenate([held, block])
        ready = len(held) - reach
        if ready - done >= rate:
            yield held[done:ready] * _gains(held, window, ceiling)[done:ready, None]
            held, done = held[ready - reach :], reach
    if held is not None and len(held) > done:
        stop = len(held)
        held = np.concatenate([held, np.zeros((reach, held.shape[1]), dtype=np.float32)])
        yield held[done:stop] * _gains(held, window, ceiling)[done:stop, None]


def _gains(samples: NDArray[np.float32], window: int, ceiling: float) -> NDArray[np.float32]:
    # The minimum over the window, averaged over the same window, never exceeds the gain that a sample requires.
    required = np.minimum(1.0, ceiling / np.maximum(true_peaks(samples), 1e-9))
    lowest = minimum_filter1d(required, 2 * window + 1, mode="nearest")
    return np.asarray(uniform_filter1d(lowest, 2 * window + 1, mode="nearest"), dtype=np.float32)
