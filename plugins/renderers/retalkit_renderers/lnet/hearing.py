"""What L-Net hears at each frame: a fifth of a second of mel, with or without a gate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.speech.mel import SILENT_LEVEL, STEPS_PER_SECOND, step_count
from retalkit.speech.mel_windows import WINDOW_STEPS, window_starts
from retalkit.stages import SPEECH_RATE, Speech


def heard(speech: Speech, times: NDArray[np.float64], *, gate: bool) -> NDArray[np.float32]:
    """float32 [T, 80, 16] in [-4, 4] for float64 [T] seconds.

    With ``gate`` each of the 16 steps at whose time nobody speaks becomes digital silence, in which the network keeps
    the mouth closed: noise, hum and music move nothing, and a word at the end of a window is still seen coming.
    """
    windows = np.array(speech.mel_windows(times), np.float32)
    if not gate or not len(times):
        return windows
    steps = step_count(round(speech.duration * SPEECH_RATE))
    places = window_starts(np.asarray(times, np.float64), steps)[:, None] + np.arange(WINDOW_STEPS)
    activity = speech.activity((places / STEPS_PER_SECOND).ravel()).reshape(places.shape)
    return np.where(activity[:, None] > 0, windows, np.float32(SILENT_LEVEL))
