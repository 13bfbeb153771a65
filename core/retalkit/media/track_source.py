"""Protocol of audio that can be streamed repeatedly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class TrackSource(Protocol):
    """Audio with a sample rate and a channel layout that can be streamed repeatedly."""

    @property
    def rate(self) -> int: ...
    @property
    def layout(self) -> str: ...
    def length_at(self, rate: int) -> int: ...
    def native_chunks(self, rate: int) -> Iterator[NDArray[np.float32]]: ...
