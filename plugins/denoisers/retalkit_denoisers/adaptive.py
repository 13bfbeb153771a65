"""Denoiser that applies RNNoise only to noisy speech.

Original and denoised speech are mixed in proportions that depend on the signal-to-noise ratio. The ratio is estimated
for each block of 4 s from the surrounding 12 s. The estimate compares the power of the loudest and the quietest
segments of 0.05 s and ignores digital silence. Clean speech is bit-identical in the output, because denoisers remove
quiet consonants and word endings, which reduces the lip correlation more than faint noise does. RNNoise processes only
the parts that are mixed, and 4 s before each part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.stages import SPEECH_RATE, DenoiseClip, Runtime, StageContext

from retalkit_denoisers.block_stream import BlockStream, concatenate
from retalkit_denoisers.plugin import AdaptiveConfig
from retalkit_denoisers.rnnoise_parts import RnnoiseParts

_BLOCK = 4 * SPEECH_RATE
_HALF = _BLOCK // 2
_CONTEXT = 4 * SPEECH_RATE
_SEGMENT = SPEECH_RATE // 20
_QUIET_SHARE = 0.1
_LOUD_SHARE = 0.3
_FEWEST_SEGMENTS = 8


class Adaptive:
    """Denoiser ``adaptive``."""

    def __init__(self, config: AdaptiveConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: DenoiseClip, context: StageContext) -> AdaptiveSession:
        return AdaptiveSession(self._config)


class AdaptiveSession:
    """Denoising session for one audio stream. The session buffers up to 20 s of audio."""

    def __init__(self, config: AdaptiveConfig) -> None:
        self._config = config
        self._denoiser = RnnoiseParts()
        self._blocks = BlockStream(_BLOCK, _CONTEXT)
        self._shares: list[float] = []
        self._original = np.zeros(0, np.float32)
        self._mixed_blocks = 0
        self._received = 0
        self._returned = 0

    def denoise(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add mono audio, float32 [N] at 16 kHz. Return the completed samples, which lag by up to 12 s."""
        self._received += len(waveform)
        samples = waveform.astype(np.float32, copy=False)
        self._original = np.concatenate([self._original, samples])
        self._denoiser.push(samples)
        self._shares += [self._share(block) for block in self._blocks.push(waveform)]
        return self._emit(last=False)

    def finish(self) -> NDArray[np.float32]:
        """Return the remaining samples. The total output length equals the total input length."""
        self._shares += [self._share(block) for block in self._blocks.finish()]
        return self._emit(last=True)

    def close(self) -> None:
        self._denoiser.close()

    def _share(self, block: NDArray[np.float32]) -> float:
        """Return the share of denoised speech in the mix for a block with context."""
        ratio = estimate_snr(np.nan_to_num(block))
        config = self._config
        if ratio is None:
            return 0.0
        return config.strength * float(np.clip((config.clean - ratio) / (config.clean - config.noisy), 0.0, 1.0))

    def _emit(self, last: bool) -> NDArray[np.float32]:
        """Return the mix for all blocks for which the shares of the block and of the next block are available."""
        pieces: list[NDArray[np.float32]] = []
        # The share is interpolated linearly between block centres.
        while self._mixed_blocks < len(self._shares) - (0 if last else 1):
            index = self._mixed_blocks
            length = min(_BLOCK, self._received - self._returned)
            middles = np.clip([index - 1, index, index + 1], 0, len(self._shares) - 1)
            positions = (np.arange(length) + 0.5) / _BLOCK
            shares = np.interp(positions, [-0.5, 0.5, 1.5], [self._shares[middle] for middle in middles])
            pieces.append(self._mix(length, shares.astype(np.float32)))
            self._mixed_blocks += 1
        return concatenate(pieces)

    def _mix(self, length: int, shares: NDArray[np.float32]) -> NDArray[np.float32]:
        mixed = self._original[:length].copy()
        self._original = self._original[length:]
        # The share changes its slope in the middle of a block and is often 0 in one of the halves.
        for half in (slice(0, _HALF), slice(_HALF, _BLOCK)):
            original, share = mixed[half], shares[half]
            if share.any():
                start = self._returned + half.start
                cleaned = self._denoiser.denoise(start, start + len(original))
                mixed[half] = np.where(share > 0, original + share * (cleaned - original), original)
        self._returned += length
        self._denoiser.forget(self._returned)
        return mixed


def estimate_snr(samples: NDArray[np.float32]) -> float | None:
    """Return the estimated signal-to-noise ratio of speech in dB.

    The result is None if the audio contains fewer than 8 segments without digital silence.
    """
    segments = samples[: len(samples) // _SEGMENT * _SEGMENT].reshape(-1, _SEGMENT)
    # Digital silence is padding or the result of an edit, so it contains no background noise.
    audible = segments[segments[:, :16].any(axis=1) & segments[:, -16:].any(axis=1)]
    if len(audible) < _FEWEST_SEGMENTS:
        return None
    powers = np.sort(np.mean(np.square(audible, dtype=np.float64), axis=1))
    noise = powers[: max(2, int(len(powers) * _QUIET_SHARE))].mean()
    loud = powers[-max(2, int(len(powers) * _LOUD_SHARE)) :].mean()
    return float(10.0 * np.log10(max(loud - noise, 1e-12) / max(noise, 1e-12)))
