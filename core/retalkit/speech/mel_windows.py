"""Selection of mel windows for video frames by timestamp."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retalkit.speech.mel import BAND_COUNT, STEPS_PER_SECOND, MelReader

WINDOW_STEPS = 16
"""Number of mel time steps per window, equal to 0.2 s."""

# Tolerance for timestamps that rounding errors place slightly before a time step boundary.
_ROUNDING = 1e-6


def window_starts(times: NDArray[np.float64], step_count: int) -> NDArray[np.int64]:
    """Compute the first mel time step of each window, int64 [T], for times float64 [T] in seconds.

    The first time step is ``floor(80 t)`` to match the published code. As in the published code, a window whose time is
    inside the audio but that would extend past ``step_count`` is moved to the last 16 time steps. In audio of fewer
    than 16 time steps, the window starts at 0 and is padded with silence. Windows for times before 0 or after the end
    of the audio are not moved and contain silence.
    """
    starts = np.floor(times * STEPS_PER_SECOND + _ROUNDING).astype(np.int64)
    last_start = max(step_count - WINDOW_STEPS, 0)
    inside = (starts >= 0) & (starts < step_count)
    return np.where(inside, np.minimum(starts, last_start), starts)


def mel_windows(mel: MelReader, times: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return mel windows, float32 [T, 80, 16] in [-4, 4], for times float64 [T] in seconds."""
    starts = window_starts(np.asarray(times, dtype=np.float64), mel.step_count)
    result = np.empty((len(starts), BAND_COUNT, WINDOW_STEPS), dtype=np.float32)
    for row, start in enumerate(starts.tolist()):
        result[row] = mel.steps(start, start + WINDOW_STEPS)
    return result
