"""Random access to audio samples and other one-dimensional arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class ValueReader(Protocol):
    """Random-access reader for a one-dimensional array."""

    def read(self, start: int, stop: int, /) -> NDArray[np.float32]:
        """Return values [start, stop) as float32 [stop - start]. Values before 0 and after the end are zero."""
        ...


class WaveReader(Protocol):
    """Random-access reader for mono audio at 16 kHz."""

    @property
    def sample_count(self) -> int:
        """Number of samples."""
        ...

    def read(self, start_sample: int, stop_sample: int, /) -> NDArray[np.float32]:
        """Return samples as float32 [stop_sample - start_sample] in [-1, 1].

        Samples before 0 and after the end are zero.
        """
        ...


class ArrayReader:
    """Reader for an in-memory array, which implements ``WaveReader`` and ``ValueReader``."""

    def __init__(self, waveform: NDArray[np.float32]) -> None:
        """Initialise the reader.

        ``waveform``: values, float32 [N]. Audio must be mono at 16 kHz with values in [-1, 1].
        """
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


@dataclass(frozen=True, slots=True)
class PlacedValues:
    """Part of an array at a position in a longer array. All positions are indexes of values."""

    reader: ValueReader
    start: int
    stop: int
    offset: int
    """Index in ``reader`` of the value at ``start``."""
    gain: float = 1.0


class PlacedReader:
    """Reader for an array that consists of parts of other arrays, with zeros between the parts. Implements
    ``WaveReader`` and ``ValueReader``."""

    def __init__(self, parts: Sequence[PlacedValues], count: int) -> None:
        self._parts = tuple(parts)
        self._count = count

    @property
    def sample_count(self) -> int:
        return self._count

    def read(self, start_sample: int, stop_sample: int) -> NDArray[np.float32]:
        result = np.zeros(max(stop_sample - start_sample, 0), dtype=np.float32)
        for part in self._parts:
            first = max(start_sample, part.start, 0)
            last = min(stop_sample, part.stop, self._count)
            if last > first:
                values = part.reader.read(first - part.start + part.offset, last - part.start + part.offset)
                result[first - start_sample : last - start_sample] += np.float32(part.gain) * values
        return result
