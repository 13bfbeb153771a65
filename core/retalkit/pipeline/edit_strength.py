"""Strength of an edit over time, which eases in and out of cues."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retalkit.stages import Analysis, Timeline

EASE: Final = 0.2
"""Time in seconds over which the mouth moves from its own shape to the edited shape inside a cue."""
_LEAST: Final = 1e-3
"""Strength below which a frame is not edited. An edit with this opacity changes no pixel."""
_FADE: Final = 0.35
"""Strength at which the edit of a lip syncer that eases reaches full opacity."""
_JOINED: Final = 1e-3
"""Maximum gap in seconds between two ranges that are joined without easing."""


@dataclass(frozen=True, slots=True)
class Absence:
    """Consecutive output frames in which the face of a person is not visible or not recognised."""

    first: float
    """Time of the first frame in seconds."""
    last: float
    """Time of the last frame in seconds."""
    eases_before: bool
    """Whether the edit eases out before the absence. It does not if a new shot starts with the absence."""
    eases_after: bool
    """Whether the edit eases in after the absence. It does not if a new shot ends the absence."""


class EditStrength:
    """Strength of an edit in [0, 1] at output times.

    The strength is 0 outside the ranges and 1 inside, with smooth transitions inside the ranges and next to absences.
    There is no transition at the start and at the end of the output, because no unedited frame precedes or follows.
    """

    def __init__(
        self,
        ranges: Iterable[tuple[float, float]],
        duration: float,
        first_frame: float = 0.0,
        absences: Sequence[Absence] = (),
    ) -> None:
        """Initialise the strength.

        ``ranges``: start and stop times in seconds, which must not overlap. ``duration``: end of the output.
        ``first_frame``: duration of one frame in seconds. A range that starts or ends within one frame of the output's
        ends has no transition there. ``absences``: absences of the face in order of time.
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
        self._leaves = np.array([each.first for each in absences if each.eases_before], np.float64)
        self._returns = np.array([each.last for each in absences if each.eases_after], np.float64)

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
            value = np.clip(np.minimum(value, self._presence(times[inside])), 0.0, 1.0)
            value = value * value * (3.0 - 2.0 * value)
            result[inside] = np.where(value < _LEAST, 0.0, value)
        return result

    def _presence(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the time to the nearest absence in units of ``EASE``, float64 [T]."""
        until = np.append(self._leaves, np.inf)[np.searchsorted(self._leaves, times)] - times
        since = times - np.append(-np.inf, self._returns)[np.searchsorted(self._returns, times, side="right")]
        # The strength of frames without a face has no effect.
        return np.minimum(np.where(until > 0, until, np.inf), np.where(since > 0, since, np.inf)) / EASE

    @property
    def stop(self) -> float:
        """End of the last range in seconds."""
        return max((stop for _, stop in self.ranges), default=0.0)

    def identity(self) -> list[Any]:
        """Return data for a cache key."""
        ends = [self._leaves.tolist(), self._returns.tolist()]
        return [EASE, [list(each) for each in self.ranges], self._duration, self._frame, ends]


def find_absences(analysis: Analysis, timeline: Timeline, cuts: Collection[int]) -> tuple[Absence, ...]:
    """Return the absences of a face in the output.

    ``cuts``: indexes of the source frames that start a new shot.
    """
    count = analysis.source.info.frame_count
    sources = timeline.sources(0, timeline.count)
    missing = analysis.tracks(0, count)[sources] < 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], missing.astype(np.int8), [0]])))
    times = timeline.times(0, timeline.count)
    return tuple(
        Absence(
            float(times[start]),
            float(times[stop - 1]),
            start > 0 and int(sources[start]) not in cuts,
            stop < timeline.count and int(sources[stop]) not in cuts,
        )
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    )


def opacity(strength: NDArray[np.float32], eases: bool) -> NDArray[np.float32]:
    """Return the opacity of an edit for its strength, float32 [T].

    ``eases``: whether the lip syncer moves the mouth from its own shape to the target. Its edits fade in only at the
    lowest strengths, where the edited mouth nearly equals the original. Other edits fade in over the whole range.
    """
    if not eases:
        return strength
    value = np.clip(strength / np.float32(_FADE), 0, 1)
    return value * value * (3 - 2 * value)
