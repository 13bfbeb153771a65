"""Mel windows for lip generation networks with an optional voice activity gate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.speech.mel import SILENT_LEVEL, STEPS_PER_SECOND, step_count
from retalkit.speech.mel_windows import WINDOW_STEPS, window_starts
from retalkit.stages import SPEECH_RATE, Speech


def gated_windows(speech: Speech, times: NDArray[np.float64], *, gate: bool) -> NDArray[np.float32]:
    """Return mel windows, float32 [T, 80, 16] in [-4, 4], for ``times`` in seconds, float64 [T].

    If ``gate`` is true, each of the 16 time steps without voice activity is replaced by digital silence, for which the
    network keeps the mouth closed. Noise, humming and music therefore do not move the mouth. A word at the end of a
    window still moves the mouth.
    """
    windows = np.array(speech.mel_windows(times), np.float32)
    if not gate or not len(times):
        return windows
    count = step_count(round(speech.duration * SPEECH_RATE))
    steps = window_starts(np.asarray(times, np.float64), count)[:, None] + np.arange(WINDOW_STEPS)
    activity = speech.activity((steps / STEPS_PER_SECOND).ravel()).reshape(steps.shape)
    return np.where(activity[:, None] > 0, windows, np.float32(SILENT_LEVEL))
