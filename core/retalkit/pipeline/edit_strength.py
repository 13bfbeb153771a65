"""Strength of an edit over time, which eases in and out of cues."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

EASE: Final = 0.2
"""Time in seconds over which the mouth moves from its own shape to the edited shape inside a cue."""
_LEAST: Final = 1e-3
"""Strength below which a frame is not edited. An edit with this opacity changes no pixel."""
_FADE: Final = 0.35
"""Strength at which the edit of a lip syncer that eases reaches full opacity."""
_JOINED: Final = 1e-3
"""Maximum gap in seconds between two ranges that are joined without easing."""


class EditStrength:
    """Strength of an edit in [0, 1] at output times.

    The strength is 0 outside the ranges and 1 inside, with smooth transitions inside the ranges. There is no transition
    at the start and at the end of the output, because no unedited frame precedes or follows.
    """

    def __init__(self, ranges: Iterable[tuple[float, float]], duration: float, first_frame: float = 0.0) -> None:
        """Initialise the strength.

        ``ranges``: start and stop times in seconds, which must not overlap. ``duration``: end of the output.
        ``first_frame``: duration of one frame in seconds. A range that starts or ends within one frame of the output's
        ends has no transition there.
        """
        joined: list[list[float]] = []
        for start, stop in sorted(ranges):
            if joined and start - joined[-1][1] <= _JOINED:
                joined[-1][1] = max(joined[-1][1], stop)
            else:
                joined.append([start, stop])
        self.ranges = tuple((start, stop) for start, stop in joined)
        self._duration = duration
        self._frame = first_frame

    def __call__(self, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the strength at ``times`` in seconds, float32 [T]."""
        times = np.asarray(times, np.float64)
        result = np.zeros(len(times), np.float32)
        for start, stop in self.ranges:
            inside = (times >= start) & (times < stop)
            if not inside.any():
                continue
            ease = min(EASE, (stop - start) / 2)
            value = np.ones(int(inside.sum()))
            if start > self._frame / 2:
                value = np.minimum(value, (times[inside] - start) / ease)
            if stop < self._duration - self._frame / 2:
                value = np.minimum(value, (stop - times[inside]) / ease)
            value = np.clip(value, 0.0, 1.0)
            value = value * value * (3.0 - 2.0 * value)
            result[inside] = np.where(value < _LEAST, 0.0, value)
        return result

    @property
    def stop(self) -> float:
        """End of the last range in seconds."""
        return max((stop for _, stop in self.ranges), default=0.0)

    def identity(self) -> list[Any]:
        """Return data for a cache key."""
        return [EASE, [list(each) for each in self.ranges], self._duration, self._frame]


def opacity(strength: NDArray[np.float32], eases: bool) -> NDArray[np.float32]:
    """Return the opacity of an edit for its strength, float32 [T].

    ``eases``: whether the lip syncer moves the mouth from its own shape to the target. Its edits fade in only at the
    lowest strengths, where the edited mouth nearly equals the original. Other edits fade in over the whole range.
    """
    if not eases:
        return strength
    value = np.clip(strength / np.float32(_FADE), 0, 1)
    return value * value * (3 - 2 * value)
