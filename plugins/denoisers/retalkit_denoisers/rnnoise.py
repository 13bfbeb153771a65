"""RNNoise denoiser (Valin, "A Hybrid DSP/Deep Learning Approach to Real-Time Full-Band Speech Enhancement", MMSP 2018).

The package ``pyrnnoise`` contains the library and its weights. RNNoise processes 10 ms frames at 48 kHz. The session
therefore upsamples the speech by a factor of three, applies RNNoise, and downsamples the result with zero-phase
filters. The session compensates for the network delay.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray
from retalkit.plugins import StageConfig
from retalkit.stages import DenoiseClip, Runtime, StageContext

from retalkit_denoisers.block_stream import BlockStream, concatenate
from retalkit_denoisers.rnnoise_library import FRAME, RnnoiseState

_RATIO = 3
_BLOCK = 8000
_CONTEXT = 160
_DELAY = 2 * FRAME
# The library expects samples in the 16-bit integer range.
_SCALE = np.float32(32768.0)


class Rnnoise:
    """Denoiser that uses RNNoise with its published weights."""

    def __init__(self, config: StageConfig, runtime: Runtime) -> None:
        del config

    def open(self, clip: DenoiseClip, context: StageContext) -> RnnoiseSession:
        return RnnoiseSession()


class RnnoiseSession:
    """Denoising session for one speech stream."""

    def __init__(self) -> None:
        self._state = RnnoiseState()
        self._input_blocks = BlockStream(_BLOCK, _CONTEXT)
        self._output_blocks = BlockStream(_BLOCK * _RATIO, _CONTEXT * _RATIO)
        self._samples_to_drop = _DELAY
        self._received = 0
        self._returned = 0

    def denoise(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Denoise mono audio, float32 [N] at 16 kHz, and return the denoised samples that are available.

        The output is delayed by about one second relative to the input.
        """
        self._received += len(waveform)
        return self._emit(
            [self._downsample(block) for wide in self._clean(self._input_blocks.push(waveform)) for block in wide]
        )

    def finish(self) -> NDArray[np.float32]:
        """Return the remaining denoised samples. The total output length equals the total input length."""
        cleaned = self._clean(self._input_blocks.finish())
        delayed = self._output_blocks.push(self._run(np.zeros(_DELAY, dtype=np.float32)))
        last = self._output_blocks.finish()
        return self._emit([self._downsample(block) for wide in [*cleaned, delayed, last] for block in wide])

    def close(self) -> None:
        self._state.close()

    def _clean(self, blocks: list[NDArray[np.float32]]) -> list[list[NDArray[np.float32]]]:
        cleaned: list[list[NDArray[np.float32]]] = []
        for block in blocks:
            wide = soxr.resample(np.nan_to_num(block), 1, _RATIO)[_CONTEXT * _RATIO : (_CONTEXT + _BLOCK) * _RATIO]
            cleaned.append(self._output_blocks.push(self._run(wide)))
        return cleaned

    def _run(self, wide: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the denoised 48 kHz frames after compensating for the network delay."""
        samples = np.ascontiguousarray(wide * _SCALE, dtype=np.float32)
        self._state.process(samples)
        dropped = min(self._samples_to_drop, len(samples))
        self._samples_to_drop -= dropped
        return samples[dropped:] / _SCALE

    @staticmethod
    def _downsample(block: NDArray[np.float32]) -> NDArray[np.float32]:
        return soxr.resample(block, _RATIO, 1)[_CONTEXT : _CONTEXT + _BLOCK].astype(np.float32)

    def _emit(self, pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        ready = concatenate(pieces)[: self._received - self._returned]
        self._returned += len(ready)
        return np.clip(ready, -1.0, 1.0)
