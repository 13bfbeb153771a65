"""Mel windows of video frames, selected by timestamp."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retalkit.speech.mel import BAND_COUNT, STEPS_PER_SECOND, MelReader

WINDOW_STEPS = 16
"""Mel steps per window: 0.2 s."""

# A timestamp on a step boundary may be smaller by a rounding error.
_ROUNDING = 1e-6


def window_starts(times: NDArray[np.float64], step_count: int) -> NDArray[np.int64]:
    """Return the first mel step of each window, int64 [T], for times float64 [T] in seconds.

    The start is ``floor(80 t)``, as published. For a time inside the audio, a window that would extend past the
    ``step_count`` steps is moved back to the last 16 steps, as published; audio of fewer than 16 steps starts at 0 and
    is padded with silence. Windows of times before 0 or after the end are not moved and contain silence.
    """
    starts = np.floor(times * STEPS_PER_SECOND + _ROUNDING).astype(np.int64)
    last_start = max(step_count - WINDOW_STEPS, 0)
    inside = (starts >= 0) & (starts < step_count)
    return np.where(inside, np.minimum(starts, last_start), starts)


def mel_windows(mel: MelReader, times: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the windows, float32 [T, 80, 16] in [-4, 4], of times float64 [T] in seconds."""
    starts = window_starts(np.asarray(times, dtype=np.float64), mel.step_count)
    result = np.empty((len(starts), BAND_COUNT, WINDOW_STEPS), dtype=np.float32)
    for row, start in enumerate(starts.tolist()):
        result[row] = mel.steps(start, start + WINDOW_STEPS)
    return result
