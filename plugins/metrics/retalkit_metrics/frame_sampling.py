"""Which frames the slow networks look at: the first one of every fifth of a second, by its timestamp."""

from __future__ import annotations

from math import floor
from typing import Final

SAMPLES_PER_SECOND: Final = 5
"""Neighbouring frames look alike: more of them cost time and say little."""
_EARLY: Final = 1e-6
"""Slots by which a timestamp may fall short of its slot by rounding."""


class FrameSampler:
    """Picks frames by their times alone, so that all variants of one clip are measured on the same ones."""

    def __init__(self) -> None:
        self._slot: int | None = None

    def wants(self, time: float) -> bool:
        """Whether the frame at ``time`` seconds is to be measured; asked once for every frame, in order."""
        slot = floor(time * SAMPLES_PER_SECOND + _EARLY)
        if slot == self._slot:
            return False
        self._slot = slot
        return True
