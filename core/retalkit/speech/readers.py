"""How the speech modules read a sound: by sample positions, without holding it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class ValueReader(Protocol):
    """Values in a row that can be read anywhere."""

    def read(self, start: int, stop: int, /) -> NDArray[np.float32]:
        """float32 [stop - start]; zeros before 0 and after the end."""
        ...


class WaveReader(Protocol):
    """Mono sound at 16 kHz that can be read anywhere."""

    @property
    def sample_count(self) -> int:
        """Samples in the sound."""
        ...

    def read(self, start_sample: int, stop_sample: int, /) -> NDArray[np.float32]:
        """float32 [stop_sample - start_sample] in [-1, 1]; zeros before 0 and after the end."""
        ...


class ArrayReader:
    """A sound, or any other row of values, that is already in memory."""

    def __init__(self, waveform: NDArray[np.float32]) -> None:
        """``waveform``: float32 [N]; for a sound mono in [-1, 1] at 16 kHz."""
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
