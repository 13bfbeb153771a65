"""What is measured of a face: its size, how far it is turned, and the gap between the lips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.stages import Analysis

Float = NDArray[np.float32]

CHUNK = 1024
LEAST_SPAN, MOST_SPAN = 0.12, 0.30
"""How much further than at rest a mouth opens at least and at most, in distances between the outer eye corners."""


def eye_distance(landmarks: Float) -> Float:
    """float32 [T] in pixels of landmarks [T, 478, 3]: between the outer eye corners in space. It stays the same when
    the head turns, so all sizes here are told in it."""
    across = landmarks[:, mesh478.RIGHT_EYE_OUTER] - landmarks[:, mesh478.LEFT_EYE_OUTER]
    return np.linalg.norm(across, axis=1).astype(np.float32)


def turned_degrees(landmarks: Float) -> Float:
    """float32 [T]: how far the head is turned to a side, from 0 (looks at the camera) to 90 (profile)."""
    across = landmarks[:, mesh478.RIGHT_EYE_OUTER] - landmarks[:, mesh478.LEFT_EYE_OUTER]
    return np.degrees(np.arctan2(np.abs(across[:, 2]), np.hypot(across[:, 0], across[:, 1]))).astype(np.float32)


def gaps(landmarks: Float) -> Float:
    """float32 [T]: between the inner lips in the middle as the picture shows it, in eye distances."""
    upper, lower = mesh478.INNER_LIP_PAIRS[0]
    gap = np.linalg.norm(landmarks[:, lower, :2] - landmarks[:, upper, :2], axis=1)
    return (gap / np.maximum(eye_distance(landmarks), 1e-3)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Mouth:
    """What the mouth of the person in a clip does, in eye distances."""

    rest: float
    """Gap of the lips when nothing is said: the least that the clip shows, which is not 0 for who smiles."""
    span: float
    """How much further the mouth opens."""

    @classmethod
    def of(cls, analysis: Analysis) -> Mouth:
        """Measured in all frames of a clip."""
        count = analysis.source.info.frame_count
        seen = [gaps(analysis.landmarks(start, min(start + CHUNK, count))) for start in range(0, count, CHUNK)]
        gap = np.concatenate([np.zeros(0, np.float32), *seen])
        gap = gap[np.isfinite(gap)]
        if not len(gap):
            return cls(0.0, LEAST_SPAN)
        rest, wide = (float(value) for value in np.quantile(gap, [0.05, 0.95]))
        return cls(rest, float(np.clip(wide - rest, LEAST_SPAN, MOST_SPAN)))

    def gap(self, opening: Float) -> Float:
        """What the lips should show: openings float32 [T], 0 at rest, 1 wide, to gaps float32 [T]."""
        return np.asarray(self.rest + self.span * opening, np.float32)
