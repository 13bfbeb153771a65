"""Spectral gating (Sainburg et al., PLOS Computational Biology 2020) with the package ``noisereduce``, as a stream.

The package's stationary gate needs a sample of the noise alone. Here it is the quietest tenth of the twelve seconds
around each block of four, so the estimate follows a noise that changes and needs no pause at the start.
"""

from __future__ import annotations

import noisereduce
import numpy as np
from numpy.typing import NDArray
from retalkit.stages import SPEECH_RATE, DenoiseClip, Runtime, StageContext

from retalkit_denoisers.block_stream import Blocks, joined
from retalkit_denoisers.plugin import SpectralGateConfig

_BLOCK = 4 * SPEECH_RATE
_CONTEXT = 4 * SPEECH_RATE
_FADE = SPEECH_RATE // 4
_MARGIN = SPEECH_RATE // 2
_SEGMENT = SPEECH_RATE // 20
_QUIET_SHARE = 0.1
_FEWEST_SEGMENTS = 4
# Noise below -75 dBFS does nobody harm, and gating it away would only cost speech.
_INAUDIBLE = 10.0 ** (-75.0 / 10.0)


class SpectralGate:
    """Lowers what is no louder than the noise nearby."""

    def __init__(self, config: SpectralGateConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: DenoiseClip, context: StageContext) -> SpectralGateSession:
        return SpectralGateSession(self._config)


class SpectralGateSession:
    """One stream of speech; holds twelve seconds of it."""

    def __init__(self, config: SpectralGateConfig) -> None:
        self._config = config
        self._blocks = Blocks(_BLOCK, _CONTEXT)
        self._tail: NDArray[np.float32] | None = None
        self._received = 0
        self._given = 0

    def denoise(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mono float32 [N] at 16 kHz -> the next samples that are ready, up to eight seconds behind the input."""
        self._received += len(waveform)
        return self._give(self._blocks.push(waveform))

    def finish(self) -> NDArray[np.float32]:
        """The rest, so that all outputs together are as long as all inputs."""
        return self._give(self._blocks.finish())

    def close(self) -> None: ...

    def _give(self, blocks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        ready = joined([self._block(np.nan_to_num(block)) for block in blocks])[: self._received - self._given]
        self._given += len(ready)
        return ready

    def _block(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The block in the middle, faded over from what the block before made of its first quarter second."""
        region = samples[_CONTEXT - _MARGIN : _CONTEXT + _BLOCK + _FADE + _MARGIN]
        noise = _quietest(samples)
        cleaned = region if noise is None else self._gate(region, noise)
        cleaned = cleaned[_MARGIN : _MARGIN + _BLOCK + _FADE].copy()
        if self._tail is not None:
            weight = np.linspace(0.0, 1.0, _FADE, dtype=np.float32)
            cleaned[:_FADE] = weight * cleaned[:_FADE] + (np.float32(1.0) - weight) * self._tail
        self._tail = cleaned[_BLOCK:].copy()
        return cleaned[:_BLOCK]

    def _gate(self, region: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        cleaned = noisereduce.reduce_noise(
            y=region,
            sr=SPEECH_RATE,
            y_noise=noise,
            stationary=True,
            prop_decrease=self._config.strength,
            n_std_thresh_stationary=self._config.threshold,
            n_fft=512,
            freq_mask_smooth_hz=125,
            time_mask_smooth_ms=33,
            padding=0,
            n_jobs=1,
        )
        return np.asarray(cleaned, dtype=np.float32)


def _quietest(samples: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The quietest stretches in a row, or None where there is no noise to measure."""
    segments = samples[: len(samples) // _SEGMENT * _SEGMENT].reshape(-1, _SEGMENT)
    # Digital silence is padding or an edit, not the room.
    sounding = segments[segments[:, :16].any(axis=1) & segments[:, -16:].any(axis=1)]
    if len(sounding) < _FEWEST_SEGMENTS:
        return None
    energies = np.mean(np.square(sounding, dtype=np.float64), axis=1)
    count = max(_FEWEST_SEGMENTS, int(len(sounding) * _QUIET_SHARE))
    chosen = np.sort(np.argsort(energies, kind="stable")[:count])
    if energies[chosen].mean() < _INAUDIBLE:
        return None
    return np.concatenate(list(sounding[chosen]))
