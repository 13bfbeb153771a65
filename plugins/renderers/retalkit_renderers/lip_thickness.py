"""Thickness of the visible lips, by which frames with pressed lips are told apart from a relaxed closed mouth."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

PRESSED: Final = 0.85
"""Thickness of the lips, relative to the person's median, below which the lips are pressed together or rolled in."""
MIDDLE: Final = (0, 13, 14, 17)
"""Mesh points at the middle of the lips, from top to bottom: outer and inner edge of the upper lip, and inner and outer
edge of the lower lip."""


def lip_thickness(middle: Float) -> Float:
    """Return the sum of the heights of both lips in IOD, float32 [T].

    ``middle``: points ``MIDDLE`` in the head frame, float32 [T, 4, 3].
    """
    return (middle[:, 1, 1] - middle[:, 0, 1]) + (middle[:, 3, 1] - middle[:, 2, 1])


def relaxed(thickness: Float) -> NDArray[np.bool_]:
    """Return which frames of one person do not show pressed lips, bool [T]. All frames are relaxed if ``thickness`` [T]
    is not positive, which occurs for shapes without lips."""
    median = float(np.median(thickness)) if len(thickness) else 0.0
    return thickness >= PRESSED * median if median > 0 else np.ones(len(thickness), bool)
