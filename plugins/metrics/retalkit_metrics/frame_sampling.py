"""Frame sampling for slow networks: the first frame of every fifth of a second, by timestamp."""

from __future__ import annotations

from math import floor
from typing import Final

SAMPLES_PER_SECOND: Final = 5
"""Neighbouring frames are similar: more samples take more time and change the result little."""
_ROUNDING: Final = 1e-6
"""Tolerance for timestamps that rounding made slightly too small, in sampling intervals."""


class FrameSampler:
    """Selects frames by timestamp only, so that all variants of a clip are measured on the same frames."""

    def __init__(self) -> None:
        self._slot: int | None = None

    def selects(self, time: float) -> bool:
        """Return whether to measure the frame at ``time`` seconds. Call it once per frame, in order."""
        slot = floor(time * SAMPLES_PER_SECOND + _ROUNDING)
        if slot == self._slot:
            return False
        self._slot = slot
        return True
