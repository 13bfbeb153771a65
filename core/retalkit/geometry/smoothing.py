"""Savitzky-Golay smoothing of landmarks over time, inside each track.

Savitzky and Golay, "Smoothing and differentiation of data by simplified least squares procedures", Analytical Chemistry
1964; window 5, order 2, ends fitted as in ``scipy.signal.savgol_filter(mode="interp")``.
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
    """Return float64 [5, 5]: row r maps the five samples of a window to the fitted polynomial's value at position r."""
    powers = np.vander(np.arange(WINDOW) - HALF, order + 1).astype(np.float64)
    return powers @ np.linalg.pinv(powers)


class TrackSmoother:
    """Smooths a stream of landmarks; the result does not depend on the chunking, bit for bit.

    A track is a run of frames with the same shot number >= 0. Tracks shorter than five frames and frames without a face
    are returned unchanged. The output lags by at most four frames. ``order`` 0 replaces the parabola by the mean of
    five frames: less jitter, but it lags behind fast movements.
    """

    def __init__(self, order: int = ORDER) -> None:
        self._weights = _weights(order)
        self._window: list[Float] = []
        self._shot = -1
        self._pending = 0
        """Frames at the end of the window that were not returned yet."""

    def push(self, landmarks: Float, shots: Shots) -> Float:
        """Add landmarks [T, N, D] with their shot numbers [T]; return the rows that are ready, [<=T+4, N, D], in order
        and without gaps."""
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
                # The first full window also determines the two frames at the start of the track.
                while self._pending > HALF:
                    ready.append(self._fit(WINDOW - self._pending))
                    self._pending -= 1
        return self._stack(ready, landmarks)

    def finish(self) -> Float:
        """Return the remaining rows, [<=4, N, D]; an empty [0] array if there are none."""
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
        # Added one by one: the rounding of a matrix product may depend on the shape.
        total = self._window[0] * self._weights[position, 0]
        for weight, sample in zip(self._weights[position, 1:], self._window[1:], strict=True):
            total = total + sample * weight
        return total.astype(np.float32)

    @staticmethod
    def _stack(ready: list[Float], like: Float) -> Float:
        return np.stack(ready) if ready else np.empty((0, *like.shape[1:]), np.float32)
