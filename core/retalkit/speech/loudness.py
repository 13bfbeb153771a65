"""Streaming loudness measurement according to ITU-R BS.1770-4.

The loudness of a block of 0.4 s is -0.691 + 10 log10(P), where P is the block's K-weighted power. Blocks overlap by
75%. The integrated loudness is computed from the mean power of the blocks above a relative gate, which is 10 LU below
the mean of all blocks. By default, the absolute gate is -110 LUFS and excludes only digital silence. With the
standard's gate of -70 LUFS, attenuating a recording by 30 dB could exclude additional blocks, so the loudness would not
change by 30 LU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from retalkit.speech.k_weighting import KWeighting
from retalkit.stages import SPEECH_RATE

REFERENCE: Final = -24.0
"""Loudness in LUFS to which speech is normalised for voice activity detection, denoising and drivers."""
SILENT: Final = -110.0
"""Absolute gate in LUFS, and the loudness of digital silence."""
STANDARD_GATE: Final = -70.0
"""Absolute gate in LUFS of ITU-R BS.1770-4."""
_MAX_GAIN = 60.0
_HOPS_PER_BLOCK = 4
_OFFSET = -0.691
_RELATIVE_GATE = 10.0


class LoudnessMeter:
    """Meter for the integrated loudness, by default of mono audio at 16 kHz. The meter stores eight bytes per 0.1 s of
    audio."""

    def __init__(self, rate: int = SPEECH_RATE, weights: Sequence[float] = (1.0,), gate: float = SILENT) -> None:
        """Initialise the meter.

        ``rate``: sample rate in hertz. ``weights``: weight of each channel's power, such as 1 for the front channels,
        1.41 for surround channels and 0 for LFE. ``gate``: absolute gate in LUFS.
        """
        self._filter = KWeighting(rate, len(weights))
        self._hop = rate // 10
        self._weights = np.asarray(weights, dtype=np.float64)
        self._gate = gate
        self._waiting = np.zeros((len(weights), 0))
        self._powers: list[float] = []

    def push(self, waveform: NDArray[np.float32]) -> None:
        """Add samples, float32 [N] or [N, channels]. The result does not depend on the chunk size."""
        if len(waveform) == 0:
            return
        clean = np.nan_to_num(waveform, nan=0.0, posinf=1.0, neginf=-1.0).astype(np.float64)
        powers, self._waiting = self._hop_powers(self._filter.push(clean.reshape(len(clean), -1).T))
        self._powers += powers

    def loudness(self) -> float:
        """Return the integrated loudness of all added samples in LUFS, or ``SILENT`` for digital silence."""
        last, rest = self._hop_powers(self._filter.rest())
        powers = np.array(self._powers + last)
        if len(powers) < _HOPS_PER_BLOCK:
            # Audio shorter than one block is treated as one block.
            remaining = self._weights @ np.mean(rest**2, axis=1) if rest.size else 0.0
            powers = np.append(powers, remaining)
            blocks = powers.mean(keepdims=True)
        else:
            blocks = sliding_window_view(powers, _HOPS_PER_BLOCK).mean(axis=1)
        blocks = blocks[_loudness(blocks) > self._gate]
        if len(blocks) == 0:
            return SILENT
        gate = _loudness(blocks.mean()) - _RELATIVE_GATE
        return float(_loudness(blocks[_loudness(blocks) > gate].mean()))

    def _hop_powers(self, weighted: NDArray[np.float64]) -> tuple[list[float], NDArray[np.float64]]:
        """Return the powers of the completed hops of 0.1 s, and the remaining weighted samples."""
        samples = np.concatenate([self._waiting, weighted], axis=1)
        count = samples.shape[1] // self._hop
        hops = samples[:, : count * self._hop].reshape(len(samples), count, self._hop)
        return (self._weights @ np.mean(hops * hops, axis=2)).tolist(), samples[:, count * self._hop :]


def integrated_loudness(waveform: NDArray[np.float32]) -> float:
    """Return the integrated loudness in LUFS of mono audio, float32 [N] at 16 kHz."""
    meter = LoudnessMeter()
    meter.push(waveform)
    return meter.loudness()


def reference_gain(loudness: float) -> float:
    """Return the factor that normalises audio with ``loudness`` LUFS to ``REFERENCE``. The gain is at most 60 dB."""
    return float(10.0 ** (min(REFERENCE - loudness, _MAX_GAIN) / 20.0))


def _loudness(power: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    return _OFFSET + 10.0 * np.log10(np.asarray(power) + 1e-20)
