"""Geometric plausibility of a fitted face mesh.

The mesh network returns a well-formed face for any input, so the mesh shape is not informative. The plausibility is
computed from position, size and head yaw.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478

YAW: Final = (38.0, 48.0)
"""Yaw in degrees at which plausibility starts to decrease and at which it is 0.

The measured yaw of profiles is 42 to 68.
"""
INSIDE: Final = (0.5, 0.8)
"""Fractions of points inside the frame at which plausibility is 0 and 1."""
FACE_WIDTH: Final = (12.0, 24.0)
"""Face widths in pixels at which plausibility is 0 and 1."""

ACROSS: Final = ((33, 263), (127, 356), (21, 251))
"""Point pairs (left and right in the image) that are symmetric about the head's midplane: eyes, temples, forehead."""


def plausibility(landmarks: NDArray[np.float32], width: int, height: int) -> float:
    """Return the plausibility of mesh landmarks [478, 3] in pixels of a ``width`` x ``height`` frame, in [0, 1]."""
    points = landmarks[: mesh478.MESH_COUNT]
    x, y = points[:, 0], points[:, 1]
    inside = float(np.mean((x >= 0) & (x < width) & (y >= 0) & (y < height)))
    frontal = 1 - ramp(yaw(landmarks), *YAW)
    return frontal * ramp(inside, *INSIDE) * ramp(float(x.max() - x.min()), *FACE_WIDTH)


def yaw(landmarks: NDArray[np.float32]) -> float:
    """Return the absolute yaw of the head in degrees, in [0, 90]."""
    left, right = (landmarks[[pair[side] for pair in ACROSS]] for side in (0, 1))
    across = (right - left).sum(0)
    return float(np.degrees(np.arctan2(abs(across[2]), np.hypot(across[0], across[1]))))


def ramp(value: float, low: float, high: float) -> float:
    """Return 0 up to ``low``, 1 at or above ``high``, and linearly interpolated values between ``low`` and ``high``."""
    return float(np.clip((value - low) / (high - low), 0, 1))
