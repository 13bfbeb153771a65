"""Speech input of a run, loaded from stored files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retalkit.speech.activity import ACTIVITY_RATE
from retalkit.speech.loudness import REFERENCE, reference_gain
from retalkit.speech.mel import MelReader
from retalkit.speech.mel_windows import mel_windows
from retalkit.speech.readers import PlacedReader, PlacedValues, ValueReader, WaveReader
from retalkit.stages import SPEECH_RATE


@dataclass(frozen=True, slots=True)
class SpeechPiece:
    """Part of a speech at a time in the output."""

    speech: SpeechTrack
    start: float
    """Start time in the output in seconds."""
    stop: float
    """Stop time in the output in seconds."""
    offset: float
    """Time in ``speech`` that is played at ``start``, in seconds."""


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

    @classmethod
    def assemble(cls, pieces: Sequence[SpeechPiece], duration: float) -> SpeechTrack:
        """Return a speech of ``duration`` seconds with parts of other speeches and silence between the parts.

        Parts of different recordings are normalised to the reference loudness, so that all parts move the mouth alike.
        """
        recordings = {id(piece.speech): piece.speech for piece in pieces}
        equal = len(recordings) == 1
        waves: list[PlacedValues] = []
        activities: list[PlacedValues] = []
        for piece in pieces:
            gain = 1.0 if equal else reference_gain(piece.speech.loudness)
            waves.append(_placed(piece, piece.speech._reader, SPEECH_RATE, gain))
            activities.append(_placed(piece, piece.speech._values, ACTIVITY_RATE, 1.0))
        loudness = pieces[0].speech.loudness if pieces and equal else REFERENCE
        wave = PlacedReader(waves, round(duration * SPEECH_RATE))
        return cls(wave, PlacedReader(activities, round(duration * ACTIVITY_RATE)), loudness)

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


def _placed(piece: SpeechPiece, reader: ValueReader, rate: int, gain: float) -> PlacedValues:
    start, stop = round(piece.start * rate), round(piece.stop * rate)
    return PlacedValues(reader, start, stop, round(piece.offset * rate), gain)
