"""Random access to audio samples and other one-dimensional values."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class ValueReader(Protocol):
    """Random access to a one-dimensional array."""

    def read(self, start: int, stop: int, /) -> NDArray[np.float32]:
        """Return float32 [stop - start]; zeros before 0 and after the end."""
        ...


class WaveReader(Protocol):
    """Random access to mono audio at 16 kHz."""

    @property
    def sample_count(self) -> int:
        """Number of samples."""
        ...

    def read(self, start_sample: int, stop_sample: int, /) -> NDArray[np.float32]:
        """Return float32 [stop_sample - start_sample] in [-1, 1]; zeros before 0 and after the end."""
        ...


class ArrayReader:
    """Reader of an array in memory; implements ``WaveReader`` and ``ValueReader``."""

    def __init__(self, waveform: NDArray[np.float32]) -> None:
        """``waveform``: float32 [N]; for audio, mono in [-1, 1] at 16 kHz."""
        self._waveform = np.ascontiguousarray(waveform, dtype=np.float32)

    @property
    def sample_count(self) -> int:
        return len(self._waveform)

    def read(self, start_sample: int, stop_sample: int) -> NDArray[np.float32]:
        result = np.zeros(max(stop_sample - start_sample, 0), dtype=np.float32)
        first = max(start_sample, 0)
        last = min(stop_sample, len(self._waveform))
        if last > first:
            result[first - start_sample : last - start_sample] = self._waveform[first:last]
        return result
