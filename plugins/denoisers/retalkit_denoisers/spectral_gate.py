"""Streaming spectral gate (Sainburg et al., PLOS Computational Biology 2020), based on the package ``noisereduce``.

The package's stationary gate requires a noise sample. For each block of four seconds, the noise sample consists of the
quietest tenth of the surrounding twelve seconds. The gate therefore adapts to changing noise and does not require a
pause at the start.
"""

from __future__ import annotations

import noisereduce
import numpy as np
from numpy.typing import NDArray
from retalkit.stages import SPEECH_RATE, DenoiseClip, Runtime, StageContext

from retalkit_denoisers.block_stream import BlockStream, concatenate
from retalkit_denoisers.plugin import SpectralGateConfig

_BLOCK = 4 * SPEECH_RATE
_CONTEXT = 4 * SPEECH_RATE
_FADE = SPEECH_RATE // 4
_MARGIN = SPEECH_RATE // 2
_SEGMENT = SPEECH_RATE // 20
_QUIET_SHARE = 0.1
_FEWEST_SEGMENTS = 4
# Gating noise below -75 dBFS would degrade the speech without an audible benefit.
_INAUDIBLE_POWER = 10.0 ** (-75.0 / 10.0)


class SpectralGate:
    """Denoiser that attenuates frequency bands whose level does not exceed the estimated noise level."""

    def __init__(self, config: SpectralGateConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: DenoiseClip, context: StageContext) -> SpectralGateSession:
        return SpectralGateSession(self._config)


class SpectralGateSession:
    """Denoising session for one speech stream. The session buffers twelve seconds of audio."""

    def __init__(self, config: SpectralGateConfig) -> None:
        self._config = config
        self._blocks = BlockStream(_BLOCK, _CONTEXT)
        self._tail: NDArray[np.float32] | None = None
        self._received = 0
        self._returned = 0

    def denoise(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Denoise mono audio, float32 [N] at 16 kHz, and return the denoised samples that are available.

        The output is delayed by up to eight seconds relative to the input.
        """
        self._received += len(waveform)
        return self._emit(self._blocks.push(waveform))

    def finish(self) -> NDArray[np.float32]:
        """Return the remaining denoised samples. The total output length equals the total input length."""
        return self._emit(self._blocks.finish())

    def close(self) -> None: ...

    def _emit(self, blocks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        ready = concatenate([self._denoise_block(np.nan_to_num(block)) for block in blocks])[
            : self._received - self._returned
        ]
        self._returned += len(ready)
        return ready

    def _denoise_block(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the denoised block without its context, cross-faded with the previous block over the first 0.25 s."""
        region = samples[_CONTEXT - _MARGIN : _CONTEXT + _BLOCK + _FADE + _MARGIN]
        noise = _estimate_noise(samples)
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


def _estimate_noise(samples: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the concatenated quietest segments, or None if noise cannot be estimated from the samples."""
    segments = samples[: len(samples) // _SEGMENT * _SEGMENT].reshape(-1, _SEGMENT)
    # Digital silence is padding or the result of an edit, so it contains no background noise.
    audible = segments[segments[:, :16].any(axis=1) & segments[:, -16:].any(axis=1)]
    if len(audible) < _FEWEST_SEGMENTS:
        return None
    energies = np.mean(np.square(audible, dtype=np.float64), axis=1)
    count = max(_FEWEST_SEGMENTS, int(len(audible) * _QUIET_SHARE))
    quietest = np.sort(np.argsort(energies, kind="stable")[:count])
    if energies[quietest].mean() < _INAUDIBLE_POWER:
        return None
    return np.concatenate(list(audible[quietest]))
