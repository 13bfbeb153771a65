"""Face measurements: size, yaw, and gap between the lips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.stages import Analysis

Float = NDArray[np.float32]

CHUNK = 1024
MIN_SPAN, MAX_SPAN = 0.12, 0.30
"""Minimum and maximum assumed range of mouth opening, in eye distances (between the outer eye corners)."""


def eye_distance(landmarks: Float) -> Float:
    """Return the 3D distance between the outer eye corners in pixels, float32 [T], for landmarks [T, 478, 3].

    The eye distance is the unit of all sizes in this package, because it does not change when the head turns.
    """
    across = landmarks[:, mesh478.RIGHT_EYE_OUTER] - landmarks[:, mesh478.LEFT_EYE_OUTER]
    return np.linalg.norm(across, axis=1).astype(np.float32)


def yaw_degrees(landmarks: Float) -> Float:
    """Return the absolute yaw of the head in degrees, float32 [T], from 0 (frontal) to 90 (profile)."""
    across = landmarks[:, mesh478.RIGHT_EYE_OUTER] - landmarks[:, mesh478.LEFT_EYE_OUTER]
    return np.degrees(np.arctan2(np.abs(across[:, 2]), np.hypot(across[:, 0], across[:, 1]))).astype(np.float32)


def gaps(landmarks: Float) -> Float:
    """Return the gap between the inner lips at the middle of the mouth, float32 [T], in eye distances.

    The gap is measured in the image plane.
    """
    upper, lower = mesh478.INNER_LIP_PAIRS[0]
    gap = np.linalg.norm(landmarks[:, lower, :2] - landmarks[:, upper, :2], axis=1)
    return (gap / np.maximum(eye_distance(landmarks), 1e-3)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class MouthRange:
    """Range of a person's mouth opening in a clip, in eye distances."""

    rest: float
    """Gap between the lips at rest, estimated by a low quantile over the clip. A smile has a rest gap above 0."""
    span: float
    """Difference between a wide-open gap and the gap at rest, limited to ``MIN_SPAN`` and ``MAX_SPAN``."""

    @classmethod
    def measure(cls, analysis: Analysis) -> MouthRange:
        """Compute the range over all frames of a clip."""
        count = analysis.source.info.frame_count
        seen = [gaps(analysis.landmarks(start, min(start + CHUNK, count))) for start in range(0, count, CHUNK)]
        gap = np.concatenate([np.zeros(0, np.float32), *seen])
        gap = gap[np.isfinite(gap)]
        if not len(gap):
            return cls(0.0, MIN_SPAN)
        rest, wide = (float(value) for value in np.quantile(gap, [0.05, 0.95]))
        return cls(rest, float(np.clip(wide - rest, MIN_SPAN, MAX_SPAN)))

    def gap(self, opening: Float) -> Float:
        """Return the gaps, float32 [T], for openings, float32 [T] from 0 (at rest) to 1 (wide open)."""
        return np.asarray(self.rest + self.span * opening, np.float32)
