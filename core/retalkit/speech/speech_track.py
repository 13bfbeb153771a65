"""The speech of a run, served from stored files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retalkit.speech.activity import ACTIVITY_RATE
from retalkit.speech.mel import MelReader
from retalkit.speech.mel_windows import mel_windows
from retalkit.speech.readers import ValueReader, WaveReader
from retalkit.stages import SPEECH_RATE


class SpeechTrack:
    """Implements ``retalkit.stages.Speech``; holds no more than a few seconds."""

    def __init__(self, reader: WaveReader, activity: ValueReader) -> None:
        """``activity``: the values of ``retalkit.speech.activity``, 100 a second."""
        self._reader = reader
        self._values = activity
        self._mel = MelReader(reader)

    @property
    def duration(self) -> float:
        return self._reader.sample_count / SPEECH_RATE

    def waveform(self, start: float, stop: float) -> NDArray[np.float32]:
        """See ``Speech``. Times are rounded to the nearest sample."""
        first = round(start * SPEECH_RATE)
        return self._reader.read(first, first + max(round((stop - start) * SPEECH_RATE), 0))

    def mel_windows(self, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """See ``Speech`` and ``retalkit.speech.mel_windows``."""
        return mel_windows(self._mel, times)

    def activity(self, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """See ``Speech``; interpolated between the 100 values a second."""
        positions = np.asarray(times, dtype=np.float64) * ACTIVITY_RATE
        if len(positions) == 0:
            return np.zeros(0, dtype=np.float32)
        lower = np.floor(positions).astype(np.int64)
        fractions = positions - lower
        # Times of a batch lie close together, so one piece of the file serves all of them.
        first = int(lower.min())
        values = self._values.read(first, int(lower.max()) + 2)
        here = lower - first
        return (values[here] * (1.0 - fractions) + values[here + 1] * fractions).astype(np.float32)
