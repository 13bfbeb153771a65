"""Random-access mel spectrogram, as used by Wav2Lip and its successors.

The algorithm follows the published code of Wav2Lip (Prajwal et al., ACM MM 2020) and VideoReTalking (Cheng et al.,
SIGGRAPH Asia 2022). The processing steps are pre-emphasis, magnitude spectrum, Slaney mel bands, conversion to decibels
and scaling to [-4, 4]. Time step ``k`` is centred on sample ``200 k``, which results in 80 time steps per second.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from retalkit.speech.readers import ArrayReader, WaveReader
from retalkit.stages import SPEECH_RATE

BAND_COUNT = 80
WINDOW = 800
"""Analysis window length in samples, equal to the FFT length."""
HOP = 200
"""Hop length in samples between consecutive time steps."""
STEPS_PER_SECOND = SPEECH_RATE // HOP
SILENT_LEVEL = -4.0
"""Mel value of digital silence in every band."""

_LOWEST = 55.0
_HIGHEST = 7600.0
_PRE_EMPHASIS = 0.97
_REFERENCE_DECIBELS = 20.0
_FLOOR_DECIBELS = -100.0
_BLOCK = 64
_KEPT_BLOCKS = 16

# Slaney's Auditory Toolbox (1998) defines a mel scale that is linear below 1 kHz and logarithmic above 1 kHz. A
# frequency ratio of 6.4 corresponds to 27 logarithmic steps.
_HERTZ_PER_MEL = 200.0 / 3.0
_LOGARITHMIC_FROM = 1000.0
_LOGARITHMIC_STEP = np.log(6.4) / 27.0


def _to_mel(hertz: float) -> float:
    if hertz < _LOGARITHMIC_FROM:
        return hertz / _HERTZ_PER_MEL
    return _LOGARITHMIC_FROM / _HERTZ_PER_MEL + float(np.log(hertz / _LOGARITHMIC_FROM) / _LOGARITHMIC_STEP)


def _to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    border = _LOGARITHMIC_FROM / _HERTZ_PER_MEL
    logarithmic = _LOGARITHMIC_FROM * np.exp(_LOGARITHMIC_STEP * (mel - border))
    return np.where(mel < border, mel * _HERTZ_PER_MEL, logarithmic)


@lru_cache(maxsize=1)
def mel_basis() -> NDArray[np.float32]:
    """Return the mel filter bank, float32 [80, 401], with triangular bands of unit area.

    The 401 frequencies are 0, 20, ... 8000 Hz.
    """
    frequencies = np.linspace(0.0, SPEECH_RATE / 2, WINDOW // 2 + 1)
    edges = _to_hertz(np.linspace(_to_mel(_LOWEST), _to_mel(_HIGHEST), BAND_COUNT + 2))
    widths = np.diff(edges)
    distances = edges[:, None] - frequencies[None, :]
    rising = -distances[:-2] / widths[:-1, None]
    falling = distances[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    areas = (2.0 / (edges[2:] - edges[:-2]))[:, None]
    basis = (triangles * areas).astype(np.float32)
    basis.setflags(write=False)
    return basis


def step_count(sample_count: int) -> int:
    """Return the number of time steps for an audio length in samples, as defined in the published code."""
    return 1 + sample_count // HOP


def mel_spectrogram(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the mel spectrogram, float32 [80, 1 + N // 200] in [-4, 4], of mono audio, float32 [N] at 16 kHz."""
    return MelReader(ArrayReader(waveform)).steps(0, step_count(len(waveform)))


class MelReader:
    """Random-access mel spectrogram that computes requested time steps and caches the last few seconds.

    Time steps are always computed in fixed blocks of 64, so a time step is bit-identical in every request.
    """

    def __init__(self, reader: WaveReader) -> None:
        self._reader = reader
        self._blocks: OrderedDict[int, NDArray[np.float32]] = OrderedDict()

    @property
    def step_count(self) -> int:
        """Total number of time steps in the spectrogram."""
        return step_count(self._reader.sample_count)

    def steps(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return mel values, float32 [80, stop - start] in [-4, 4]. Time steps outside the audio contain silence."""
        result = np.full((BAND_COUNT, max(stop - start, 0)), SILENT_LEVEL, dtype=np.float32)
        for index in range(start // _BLOCK, -(-stop // _BLOCK)):
            block = self._block(index)
            first = max(start, index * _BLOCK)
            last = min(stop, (index + 1) * _BLOCK)
            result[:, first - start : last - start] = block[:, first - index * _BLOCK : last - index * _BLOCK]
        return result

    def _block(self, index: int) -> NDArray[np.float32]:
        block = self._blocks.get(index)
        if block is None:
            block = self._compute(index * _BLOCK)
            self._blocks[index] = block
            if len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(index)
        return block

    def _compute(self, first_step: int) -> NDArray[np.float32]:
        start = first_step * HOP - WINDOW // 2
        stop = (first_step + _BLOCK - 1) * HOP + WINDOW // 2
        # Pre-emphasis requires the previous sample.
        samples = self._reader.read(start - 1, stop).astype(np.float64)
        emphasised = samples[1:] - _PRE_EMPHASIS * samples[:-1]
        # As in the published code, padding is applied after pre-emphasis. Pre-emphasis therefore does not amplify the
        # discontinuity at the end of the audio.
        emphasised[max(self._reader.sample_count - start, 0) :] = 0.0
        frames = sliding_window_view(emphasised, WINDOW)[::HOP]
        periodic_hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW) / WINDOW)
        magnitudes = np.abs(np.fft.rfft(frames * periodic_hann, axis=1))
        bands = mel_basis().astype(np.float64) @ magnitudes.T
        floor = 10.0 ** (_FLOOR_DECIBELS / 20.0)
        decibels = 20.0 * np.log10(np.maximum(floor, bands)) - _REFERENCE_DECIBELS
        scaled = 8.0 * (decibels - _FLOOR_DECIBELS) / -_FLOOR_DECIBELS - 4.0
        return np.clip(scaled, -4.0, 4.0).astype(np.float32)
