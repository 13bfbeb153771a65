"""Frame sampling for slow networks: the first frame in each fifth of a second, selected by timestamp."""

from __future__ import annotations

from math import floor
from typing import Final

SAMPLES_PER_SECOND: Final = 5
"""Sampling rate. Neighbouring frames are similar, so a higher rate increases the time but hardly changes the result."""
_ROUNDING: Final = 1e-6
"""Tolerance, in sampling intervals, for timestamps that were rounded down."""


class FrameSampler:
    """Selects frames by timestamp only, so that all variants of a clip are measured at identical frame times."""

    def __init__(self) -> None:
        self._slot: int | None = None

    def selects(self, time: float) -> bool:
        """Return whether the frame at ``time`` seconds is the first frame in its sampling interval. Call this method
        once per frame, in order.
        """
        slot = floor(time * SAMPLES_PER_SECOND + _ROUNDING)
        if slot == self._slot:
            return False
        self._slot = slot
        return True
