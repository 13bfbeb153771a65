"""K weighting of ITU-R BS.1770 at any sample rate.

The filter is evaluated in blocks with matrix products. The module does not use ``scipy.signal``, because importing it
takes longer than measuring the loudness of several minutes of speech.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_BLOCK: Final = 128
"""Number of samples that are filtered at a time. All matrix products have the same shape, so that the result does not
depend on how the audio is divided into chunks."""
_STATES: Final = 4


class KWeighting:
    """Streaming K weighting of several channels."""

    def __init__(self, rate: int, channels: int) -> None:
        """Initialise the filter for ``rate`` in hertz."""
        self._matrix = _block_matrix(rate)
        self._state = np.zeros((_STATES, channels))
        self._waiting = np.zeros((channels, 0))

    def push(self, samples: Values) -> Values:
        """Add samples, float64 [channels, N]. Return the completed weighted samples, float64 [channels, M]."""
        samples = np.concatenate([self._waiting, samples], axis=1)
        ready = samples.shape[1] // _BLOCK * _BLOCK
        weighted = np.empty((len(samples), ready))
        for start in range(0, ready, _BLOCK):
            block = slice(start, start + _BLOCK)
            weighted[:, block], self._state = self._filter(samples[:, block])
        self._waiting = samples[:, ready:]
        return weighted

    def rest(self) -> Values:
        """Return the weighted samples that ``push`` has not returned yet, float64 [channels, fewer than 128].

        The method does not change the state of the filter.
        """
        count = self._waiting.shape[1]
        return self._filter(np.pad(self._waiting, ((0, 0), (0, _BLOCK - count))))[0][:, :count]

    def _filter(self, block: Values) -> tuple[Values, Values]:
        result = self._matrix @ np.concatenate([block.T, self._state])
        return result[:_BLOCK].T, result[_BLOCK:]


def k_weighting_sections(rate: int) -> Values:
    """Return the second-order sections (b0, b1, b2, a0, a1, a2) of the K weighting, float64 [2, 6].

    The high shelf and the high-pass have the parameters of BS.1770. Their coefficients follow R. Bristow-Johnson,
    "Cookbook formulae for audio equalizer biquad filter coefficients".
    """
    gain = 10 ** (4.0 / 40.0)
    cosine, alpha = _cosine_and_alpha(1500.0, 1.0 / np.sqrt(2.0), rate)
    root = 2 * np.sqrt(gain) * alpha
    shelf = np.array(
        [
            gain * ((gain + 1) + (gain - 1) * cosine + root),
            -2 * gain * ((gain - 1) + (gain + 1) * cosine),
            gain * ((gain + 1) + (gain - 1) * cosine - root),
            (gain + 1) - (gain - 1) * cosine + root,
            2 * ((gain - 1) - (gain + 1) * cosine),
            (gain + 1) - (gain - 1) * cosine - root,
        ]
    )
    cosine, alpha = _cosine_and_alpha(38.0, 0.5, rate)
    high_pass = np.array(
        [(1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2, 1 + alpha, -2 * cosine, 1 - alpha],
    )
    return np.stack([shelf / shelf[3], high_pass / high_pass[3]])


def _cosine_and_alpha(frequency: float, quality: float, rate: int) -> tuple[float, float]:
    angle = 2.0 * np.pi * (frequency / rate)
    return float(np.cos(angle)), float(np.sin(angle) / (2.0 * quality))


@lru_cache(maxsize=8)
def _block_matrix(rate: int) -> Values:
    """Return the matrix that maps a block and the state before it to the weighted block and the state after it,
    float64 [_BLOCK + 4, _BLOCK + 4].

    The columns are the responses to unit samples and to unit states of the transposed direct form II.
    """
    size = _BLOCK + _STATES
    inputs, state = np.eye(_BLOCK, size), np.eye(_STATES, size, _BLOCK)
    rows: list[Values] = []
    for sample in inputs:
        value = sample
        for number, (b0, b1, b2, _, a1, a2) in enumerate(k_weighting_sections(rate)):
            first, second = state[2 * number : 2 * number + 2].copy()
            filtered = b0 * value + first
            state[2 * number] = b1 * value - a1 * filtered + second
            state[2 * number + 1] = b2 * value - a2 * filtered
            value = filtered
        rows.append(value)
    return np.vstack([rows, state])
