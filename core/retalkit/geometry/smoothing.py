"""Savitzky-Golay smoothing of landmarks in time, inside each track only.

Savitzky and Golay, "Smoothing and differentiation of data by simplified least squares procedures", Analytical Chemistry
1964; window 5, order 2, ends fitted as ``scipy.signal.savgol_filter(mode="interp")`` does.
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
    """[5, 5]: row r gives the fitted polynomial's value at position r of a window from its five samples."""
    powers = np.vander(np.arange(WINDOW) - HALF, order + 1).astype(np.float64)
    return powers @ np.linalg.pinv(powers)


class TrackSmoother:
    """Smooths a stream of landmarks; how it is cut into pieces does not change a bit of the result.

    A track is a run of frames with the same shot number >= 0. Tracks shorter than five frames and frames without a face
    come back as they are. At most four frames are held back. ``order`` 0 takes the mean of five frames in place of a
    parabola: steadier, and behind in fast movements.
    """

    def __init__(self, order: int = ORDER) -> None:
        self._weights = _weights(order)
        self._window: list[Float] = []
        self._shot = -1
        self._held = 0
        """Frames at the end of the window that were not given back yet."""

    def push(self, landmarks: Float, shots: Shots) -> Float:
        """Takes the next landmarks [T, N, D] with their shot numbers [T]; gives the rows that are ready, [<=T+4, N, D],
        in order and without gaps."""
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
            self._held += 1
            if len(self._window) > WINDOW:
                del self._window[0]
            if len(self._window) == WINDOW:
                # The first full window also decides the two frames at the start of the track.
                while self._held > HALF:
                    ready.append(self._fit(WINDOW - self._held))
                    self._held -= 1
        return self._stack(ready, landmarks)

    def finish(self) -> Float:
        """The rows that were held back, [<=4, N, D]; an empty [0] array if there are none."""
        ready: list[Float] = []
        self._flush(ready)
        return np.stack(ready) if ready else np.empty(0, np.float32)

    def _flush(self, ready: list[Float]) -> None:
        if len(self._window) < WINDOW:
            ready.extend(self._window)
        else:
            ready.extend(self._fit(WINDOW - held) for held in range(self._held, 0, -1))
        self._window, self._held, self._shot = [], 0, -1

    def _fit(self, position: int) -> Float:
        # Products are added one after the other: a matrix product may round differently for other shapes.
        total = self._window[0] * self._weights[position, 0]
        for weight, sample in zip(self._weights[position, 1:], self._window[1:], strict=True):
            total = total + sample * weight
        return total.astype(np.float32)

    @staticmethod
    def _stack(ready: list[Float], like: Float) -> Float:
        return np.stack(ready) if ready else np.empty((0, *like.shape[1:]), np.float32)


def smooth_tracks(landmarks: Float, shots: Shots) -> Float:
    """Landmarks [T, N, D] (pixels, NaN rows allowed) and shot numbers [T] (-1: no face) -> smoothed [T, N, D]."""
    smoother = TrackSmoother()
    ready = smoother.push(landmarks, shots)
    rest = smoother.finish()
    return np.concatenate([ready, rest]) if len(rest) else ready
