"""Savitzky-Golay smoothing of landmarks over time within each track.

The filter is described in Savitzky and Golay, "Smoothing and differentiation of data by simplified least squares
procedures", Analytical Chemistry 1964. The window length is 5 and the polynomial order is 2. The ends of a track are
fitted as in ``scipy.signal.savgol_filter(mode="interp")``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Shots = NDArray[np.int32]

WINDOW: Final = 5
ORDER: Final = 2
HALF: Final = WINDOW // 2


def _weights(order: int) -> NDArray[np.float64]:
    """Return filter weights, float64 [5, 5].

    Row r maps five samples to the value of the fitted polynomial at position r.
    """
    powers = np.vander(np.arange(WINDOW) - HALF, order + 1).astype(np.float64)
    return powers @ np.linalg.pinv(powers)


class TrackSmoother:
    """Streaming landmark smoother. The output is bit-identical for all chunk sizes.

    A track is a run of frames with an identical shot number >= 0. Frames without a face and tracks shorter than five
    frames are returned unchanged. The output lags the input by at most four frames. With ``order`` 0, the smoother
    replaces the polynomial with the mean of five frames, which reduces jitter but attenuates fast movements.
    """

    def __init__(self, order: int = ORDER) -> None:
        self._weights = _weights(order)
        self._window: list[Float] = []
        self._shot = -1
        self._pending = 0
        """Number of frames at the end of the window that have not been returned yet."""

    def push(self, landmarks: Float, shots: Shots) -> Float:
        """Add landmarks [T, N, D] with shot numbers [T].

        Return completed frames in order without gaps, [<=T+4, N, D].
        """
        ready: list[Float] = []
        for row, shot in zip(landmarks, shots, strict=True):
            if shot != self._shot or not np.isfinite(row).all():
                self._flush(ready)
                self._shot = int(shot)
            if shot < 0 or not np.isfinite(row).all():
                ready.append(row.astype(np.float32))
                self._shot = -1
                continue
            self._window.append(row.astype(np.float32))
            self._pending += 1
            if len(self._window) > WINDOW:
                del self._window[0]
            if len(self._window) == WINDOW:
                # The first full window also determines the first two frames of the track.
                while self._pending > HALF:
                    ready.append(self._fit(WINDOW - self._pending))
                    self._pending -= 1
        return self._stack(ready, landmarks)

    def finish(self) -> Float:
        """Return the remaining frames, [<=4, N, D], or an empty array [0] if no frames remain."""
        ready: list[Float] = []
        self._flush(ready)
        return np.stack(ready) if ready else np.empty(0, np.float32)

    def _flush(self, ready: list[Float]) -> None:
        if len(self._window) < WINDOW:
            ready.extend(self._window)
        else:
            ready.extend(self._fit(WINDOW - pending) for pending in range(self._pending, 0, -1))
        self._window, self._pending, self._shot = [], 0, -1

    def _fit(self, position: int) -> Float:
        # Values are added in sequence because the rounding of a matrix product may depend on the array shape.
        total = self._window[0] * self._weights[position, 0]
        for weight, sample in zip(self._weights[position, 1:], self._window[1:], strict=True):
            total = total + sample * weight
        return total.astype(np.float32)

    @staticmethod
    def _stack(ready: list[Float], like: Float) -> Float:
        return np.stack(ready) if ready else np.empty((0, *like.shape[1:]), np.float32)
