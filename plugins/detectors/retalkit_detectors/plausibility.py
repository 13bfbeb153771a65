"""How far a fitted mesh can be believed, from its geometry alone.

The mesh network draws a well-shaped face whatever it is shown, so shape tells little; where it lies and how far it is
turned tell more.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478

YAW: Final = (38.0, 48.0)
"""Degrees from which a turned face counts less, and from which it counts nothing: profiles come out as 42 to 68."""
INSIDE: Final = (0.5, 0.8)
"""Share of the points inside the frame, from worthless to harmless."""
SMALL: Final = (12.0, 24.0)
"""Width of the face in pixels, from worthless to harmless."""

ACROSS: Final = ((33, 263), (127, 356), (21, 251))
"""Pairs of points (viewer's left, right) that lie straight across the head: eyes, temples, forehead."""


def plausibility(landmarks: NDArray[np.float32], width: int, height: int) -> float:
    """A factor in [0, 1] for mesh landmarks [478, 3] in pixels of a frame of ``width`` x ``height``."""
    points = landmarks[: mesh478.MESH_COUNT]
    x, y = points[:, 0], points[:, 1]
    inside = float(np.mean((x >= 0) & (x < width) & (y >= 0) & (y < height)))
    turned = 1 - ramp(yaw(landmarks), *YAW)
    return turned * ramp(inside, *INSIDE) * ramp(float(x.max() - x.min()), *SMALL)


def yaw(landmarks: NDArray[np.float32]) -> float:
    """Degrees in [0, 90] that the head is turned to either side."""
    left, right = (landmarks[[pair[side] for pair in ACROSS]] for side in (0, 1))
    across = (right - left).sum(0)
    return float(np.degrees(np.arctan2(abs(across[2]), np.hypot(across[0], across[1]))))


def ramp(value: float, low: float, high: float) -> float:
    """0 up to ``low``, 1 from ``high`` on, straight between."""
    return float(np.clip((value - low) / (high - low), 0, 1))
