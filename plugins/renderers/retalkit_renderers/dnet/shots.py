"""Frames of a shot that D-Net uses as context. The published script treats the whole video as one shot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.stages import Analysis

from retalkit_renderers.dnet.coefficients import AFTER, BEFORE, window

Float = NDArray[np.float32]

_CHUNK = 1024
"""Number of frames that are loaded at a time to find the start of a shot."""


def window_rows(analysis: Analysis, index: int) -> Float | None:
    """Return the coefficients of the frames around ``index``, float32 [26, 262], padded at the ends of the shot.

    Padding repeats the first or last frame of the shot. A frame without a fit is replaced by the nearest frame of the
    shot that has a fit. If two such frames are equally close, the function uses the earlier frame. Returns None if the
    frame at ``index`` has no face or no fit.
    """
    count = analysis.source.info.frame_count
    start, stop = max(0, index - BEFORE), min(count, index + AFTER + 1)
    here = index - start
    shots, rows = analysis.tracks(start, stop), analysis.coefficients(start, stop)
    fitted = np.isfinite(rows).all(axis=1)
    if shots[here] < 0 or not fitted[here]:
        return None
    # A shot ends at the first frame of a different shot, even if the shot number recurs later.
    others = np.flatnonzero(shots != shots[here])
    first = int(others[others < here].max(initial=-1)) + 1
    last = int(others[others > here].min(initial=len(shots))) - 1
    usable = np.flatnonzero(fitted[first : last + 1]) + first
    wanted = window(here, first, last)
    nearest = usable[np.abs(usable[None] - wanted[:, None]).argmin(axis=1)]
    return rows[nearest]


def first_of_shot(analysis: Analysis, index: int) -> int:
    """Return the index of the first frame of the shot that contains ``index``."""
    shot = analysis.tracks(index, index + 1)[0]
    first = index
    while first > 0:
        start = max(0, first - _CHUNK)
        others = np.flatnonzero(analysis.tracks(start, first) != shot)
        if len(others):
            return start + int(others[-1]) + 1
        first = start
    return first
