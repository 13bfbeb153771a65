"""RNNoise (Valin, "A Hybrid DSP/Deep Learning Approach to Real-Time Full-Band Speech Enhancement", MMSP 2018).

The library and its weights come with ``pyrnnoise``. It works at 48 kHz in frames of 10 ms, so the speech goes up by
three and down again, both with symmetric filters that shift nothing; the network's own delay is taken out.
"""

from __future__ import annotations

import ctypes

import numpy as np
import soxr
from numpy.typing import NDArray
from pyrnnoise import rnnoise as library
from retalkit.plugins import StageConfig
from retalkit.stages import DenoiseClip, Runtime, StageContext

from retalkit_denoisers.block_stream import Blocks, joined

_RATIO = 3
_BLOCK = 8000
_CONTEXT = 160
_FRAME = 480
_DELAY = 2 * _FRAME
# The library computes in the range of 16-bit samples.
_SCALE = np.float32(32768.0)


class Rnnoise:
    """Denoises with RNNoise's own weights."""

    def __init__(self, config: StageConfig, runtime: Runtime) -> None:
        del config

    def open(self, clip: DenoiseClip, context: StageContext) -> RnnoiseSession:
        return RnnoiseSession()


class RnnoiseSession:
    """One stream of speech."""

    def __init__(self) -> None:
        self._state = library.create()
        self._up = Blocks(_BLOCK, _CONTEXT)
        self._down = Blocks(_BLOCK * _RATIO, _CONTEXT * _RATIO)
        self._to_drop = _DELAY
        self._received = 0
        self._given = 0

    def denoise(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mono float32 [N] at 16 kHz -> the next samples that are ready, about one second behind the input."""
        self._received += len(waveform)
        return self._give([self._narrow(block) for wide in self._clean(self._up.push(waveform)) for block in wide])

    def finish(self) -> NDArray[np.float32]:
        """The rest, so that all outputs together are as long as all inputs."""
        cleaned = self._clean(self._up.finish())
        delayed = self._down.push(self._run(np.zeros(_DELAY, dtype=np.float32)))
        rest = self._down.finish()
        return self._give([self._narrow(block) for wide in [*cleaned, delayed, rest] for block in wide])

    def close(self) -> None:
        if self._state is not None:
            library.destroy(self._state)
            self._state = None

    def _clean(self, blocks: list[NDArray[np.float32]]) -> list[list[NDArray[np.float32]]]:
        cleaned: list[list[NDArray[np.float32]]] = []
        for block in blocks:
            wide = soxr.resample(np.nan_to_num(block), 1, _RATIO)[_CONTEXT * _RATIO : (_CONTEXT + _BLOCK) * _RATIO]
            cleaned.append(self._down.push(self._run(wide)))
        return cleaned

    def _run(self, wide: NDArray[np.float32]) -> NDArray[np.float32]:
        """Runs whole frames at 48 kHz through the network and takes out the delay."""
        samples = np.ascontiguousarray(wide * _SCALE, dtype=np.float32)
        for start in range(0, len(samples), _FRAME):
            frame = samples[start : start + _FRAME].ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            library.lib.rnnoise_process_frame(self._state, frame, frame)
        dropped = min(self._to_drop, len(samples))
        self._to_drop -= dropped
        return samples[dropped:] / _SCALE

    @staticmethod
    def _narrow(block: NDArray[np.float32]) -> NDArray[np.float32]:
        return soxr.resample(block, _RATIO, 1)[_CONTEXT : _CONTEXT + _BLOCK].astype(np.float32)

    def _give(self, pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        ready = joined(pieces)[: self._received - self._given]
        self._given += len(ready)
        return np.clip(ready, -1.0, 1.0)
