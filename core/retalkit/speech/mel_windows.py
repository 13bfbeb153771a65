"""Mel windows for video frames, placed by the frames' timestamps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retalkit.speech.mel import BAND_COUNT, STEPS_PER_SECOND, MelReader

WINDOW_STEPS = 16
"""Mel steps in a window: 0.2 s."""

# A timestamp that means a whole step may lie a rounding error below it.
_ROUNDING = 1e-6


def window_starts(times: NDArray[np.float64], step_count: int) -> NDArray[np.int64]:
    """First mel step of each time's window: int64 [T] for float64 [T] seconds.

    ``floor(80 t)``, as published. A window of a time inside the sound that would reach past its ``step_count`` steps
    is moved back to its last 16 steps, as published; a sound of less than 16 steps starts at 0 and is followed by
    silence. Times before 0 and after the sound are not moved: there the window runs into silence.
    """
    starts = np.floor(times * STEPS_PER_SECOND + _ROUNDING).astype(np.int64)
    last_start = max(step_count - WINDOW_STEPS, 0)
    inside = (starts >= 0) & (starts < step_count)
    return np.where(inside, np.minimum(starts, last_start), starts)


def mel_windows(mel: MelReader, times: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 [T, 80, 16] in [-4, 4] for float64 [T] seconds."""
    starts = window_starts(np.asarray(times, dtype=np.float64), mel.step_count)
    result = np.empty((len(starts), BAND_COUNT, WINDOW_STEPS), dtype=np.float32)
    for row, start in enumerate(starts.tolist()):
        result[row] = mel.steps(start, start + WINDOW_STEPS)
    return result
