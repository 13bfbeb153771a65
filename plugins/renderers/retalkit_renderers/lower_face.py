"""Face box of the lip generation networks, and the mask of their output."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

_EDGE: Final = 6
"""Width of the mask's fade at the box edge, in pixels of the generated face."""
_TRANSITION: Final = 10
"""Width of the mask's fade above the vertical centre, in pixels of the generated face."""


def face_box(detected: Float, chin: float, width: int, height: int) -> Float | None:
    """Return the detected box with its lower edge extended by ``chin`` box heights, float32 [4].

    The box is clipped to the frame and rounded. Returns None if the box is not finite, or if the clipped width or
    height is less than 2 pixels.
    """
    if not np.isfinite(detected).all():
        return None
    longer = detected.astype(np.float64) + np.array([0, 0, 0, chin * float(detected[3] - detected[1])])
    whole = np.clip(np.floor(longer + 0.5), 0, np.array([width, height, width, height]))
    return whole.astype(np.float32) if (whole[2:] - whole[:2] >= 2).all() else None


@cache
def lower_half(side: int) -> Float:
    """Return the read-only mask of the generated lower half with soft edges, float32 [side, side] in [0, 1]."""
    edge = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    across = _smoothstep(edge / _EDGE)
    down = np.minimum(across, _smoothstep((np.arange(side) + 0.5 - (side // 2 - _TRANSITION)) / _TRANSITION))
    mask = (down[:, None] * across).astype(np.float32)
    mask.setflags(write=False)
    return mask


def _smoothstep(share: NDArray[np.float64]) -> NDArray[np.float64]:
    step = np.clip(share, 0, 1)
    return step * step * (3 - 2 * step)
