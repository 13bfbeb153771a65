"""Geometric plausibility of a fitted face mesh.

The mesh network returns a well-formed face for any input, so the mesh shape does not indicate whether the region
contains a face. The plausibility is therefore computed from the position, size and head yaw.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478

YAW: Final = (38.0, 48.0)
"""Yaw angles in degrees at which the plausibility starts to decrease and at which it reaches 0.

The measured yaw of faces in profile is 42 to 68 degrees.
"""
INSIDE: Final = (0.5, 0.8)
"""Fractions of points inside the frame at which the plausibility reaches 0 and 1."""
FACE_WIDTH: Final = (12.0, 24.0)
"""Face widths in pixels at which the plausibility reaches 0 and 1."""

ACROSS: Final = ((33, 263), (127, 356), (21, 251))
"""Point pairs (left and right in the image) on eyes, temples and forehead that are symmetric about the head's midplane.
"""
_LEFT, _RIGHT = np.array(ACROSS).T


def plausibility(landmarks: NDArray[np.float32], width: int, height: int) -> float:
    """Return the plausibility in [0, 1] of mesh landmarks [478, 3] in pixels of a ``width`` x ``height`` frame."""
    frontal, inside, large = _factors(landmarks, width, height).values()
    return frontal * inside * large


def implausible_reason(landmarks: NDArray[np.float32], width: int, height: int) -> str:
    """Return the reason for the lowest factor of ``plausibility``, or an empty string if the face is plausible."""
    factors = _factors(landmarks, width, height)
    lowest = min(factors, key=lambda name: factors[name])
    return lowest if factors[lowest] < 1 else ""


def _factors(landmarks: NDArray[np.float32], width: int, height: int) -> dict[str, float]:
    """Return the factors of the plausibility in [0, 1]. The keys name the reason for a low factor."""
    # Contiguous rows: reductions along the first axis of a small array take several times longer.
    x, y = np.ascontiguousarray(landmarks[: mesh478.MESH_COUNT, :2].T)
    left, right = float(x.min()), float(x.max())
    inside = 1.0
    if left < 0 or right >= width or y.min() < 0 or y.max() >= height:
        inside = float(np.mean((x >= 0) & (x < width) & (y >= 0) & (y < height)))
    return {
        "profile": 1 - ramp(yaw(landmarks), *YAW),
        "partly outside the frame": ramp(inside, *INSIDE),
        "too small": ramp(right - left, *FACE_WIDTH),
    }


def yaw(landmarks: NDArray[np.float32]) -> float:
    """Return the head's absolute yaw in degrees, in [0, 90]."""
    x, y, z = (landmarks[_RIGHT] - landmarks[_LEFT]).sum(0).tolist()
    return math.degrees(math.atan2(abs(z), math.hypot(x, y)))


def ramp(value: float, low: float, high: float) -> float:
    """Return a linear ramp that is 0 up to ``low`` and 1 from ``high`` on."""
    return min(max((value - low) / (high - low), 0.0), 1.0)
