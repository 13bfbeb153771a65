"""Face boxes as the published script makes them, to the bit. No part of a run, which departs from it where it is wrong:
its means run over cuts and from one person to another, and late ones over rows that are means already.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PUBLISHED_PADS = (0, 20, 0, 0)
"""Pixels above, below, left and right."""
PUBLISHED_SMOOTHING = 5
"""Frames."""


def padded_boxes(
    boxes: NDArray[np.int64], height: int, width: int, pads: tuple[int, int, int, int] = PUBLISHED_PADS
) -> NDArray[np.int64]:
    """int64 [T, 4] (left, top, right, bottom in pixels), each enlarged by ``pads`` and cut at the frame."""
    above, below, left, right = pads
    grown = boxes + np.array([-left, -above, right, below])
    grown[:, :2] = np.maximum(grown[:, :2], 0)
    grown[:, 2:] = np.minimum(grown[:, 2:], (width, height))
    return grown


def smoothed_boxes(boxes: NDArray[np.int64], frames: int = PUBLISHED_SMOOTHING) -> NDArray[np.int64]:
    """int64 [T, 4]: each row the truncated mean of itself and the ``frames`` - 1 rows behind it.

    The last rows are means of the last ``frames``, of which the earlier are smoothed by then. Of a clip of N frames
    that is shorter, only the last ``frames`` - N count: the published index turns negative there.
    """
    out = boxes.copy()
    for row in range(len(out)):
        window = out[row : row + frames] if row + frames <= len(out) else out[len(out) - frames :]
        out[row] = np.mean(window, axis=0)
    return out
