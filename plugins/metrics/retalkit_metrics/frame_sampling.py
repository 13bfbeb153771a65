"""Frame sampling for slow networks, which selects the first frame in each interval of 0.2 s by timestamp."""

from __future__ import annotations

from math import floor
from typing import Final

SAMPLES_PER_SECOND: Final = 5
"""Sampling rate in frames per second. Neighbouring frames are similar, so a higher rate would increase the time without
a significant effect on the result.
"""
_ROUNDING: Final = 1e-6
"""Tolerance for timestamps that were rounded down, in sampling intervals."""


class FrameSampler:
    """Timestamp-based frame selector, which ensures that all variants of a clip are evaluated at identical times."""

    def __init__(self) -> None:
        self._slot: int | None = None

    def selects(self, time: float) -> bool:
        """Return whether the frame at ``time`` seconds is the first frame in its sampling interval.

        Call this method once per frame, in chronological order.
        """
        slot = floor(time * SAMPLES_PER_SECOND + _ROUNDING)
        if slot == self._slot:
            return False
        self._slot = slot
        return True
