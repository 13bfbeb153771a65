"""Speech input of a run, loaded from stored files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retalkit.speech.activity import ACTIVITY_RATE
from retalkit.speech.loudness import REFERENCE
from retalkit.speech.mel import MelReader
from retalkit.speech.mel_windows import mel_windows
from retalkit.speech.readers import ValueReader, WaveReader
from retalkit.stages import SPEECH_RATE


class SpeechTrack:
    """Speech track that caches at most a few seconds of audio. Implements ``retalkit.stages.Speech``."""

    def __init__(self, reader: WaveReader, activity: ValueReader, loudness: float = REFERENCE) -> None:
        """Initialise the track.

        ``activity``: reader for values of ``retalkit.speech.activity`` at 100 Hz. ``loudness``: integrated loudness of
        the recording in LUFS.
        """
        self._reader = reader
        self._values = activity
        self._mel = MelReader(reader)
        self._loudness = loudness

    @property
    def duration(self) -> float:
        return self._reader.sample_count / SPEECH_RATE

    @property
    def loudness(self) -> float:
        """Integrated loudness in LUFS, see ``Speech``."""
        return self._loudness

    def waveform(self, start: float, stop: float) -> NDArray[np.float32]:
        """Return audio samples, see ``Speech``. Times are rounded to the nearest sample."""
        first = round(start * SPEECH_RATE)
        return self._reader.read(first, first + max(round((stop - start) * SPEECH_RATE), 0))

    def mel_windows(self, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return mel windows, see ``Speech`` and ``retalkit.speech.mel_windows``."""
        return mel_windows(self._mel, times)

    def activity(self, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return voice activity, see ``Speech``. Values are interpolated linearly between the 100 values per second."""
        positions = np.asarray(times, dtype=np.float64) * ACTIVITY_RATE
        if len(positions) == 0:
            return np.zeros(0, dtype=np.float32)
        lower = np.floor(positions).astype(np.int64)
        fractions = positions - lower
        # The times in a batch are close together, so a single read operation covers all times.
        first = int(lower.min())
        values = self._values.read(first, int(lower.max()) + 2)
        offsets = lower - first
        return (values[offsets] * (1.0 - fractions) + values[offsets + 1] * fractions).astype(np.float32)
