"""Face measurements from landmarks: size, head yaw and lip gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.stages import Analysis

Float = NDArray[np.float32]

CHUNK = 1024
MIN_SPAN, MAX_SPAN = 0.12, 0.30
"""Limits of ``MouthRange.span``, in eye distances (the distance between the outer eye corners)."""


def eye_distance(landmarks: Float) -> Float:
    """Return the 3D distance between the outer eye corners in pixels, float32 [T].

    ``landmarks``: float32 [T, 478, 3] in pixels. The eye distance is the unit of length in this package, because it is
    invariant to head rotation.
    """
    across = landmarks[:, mesh478.RIGHT_EYE_OUTER] - landmarks[:, mesh478.LEFT_EYE_OUTER]
    return np.linalg.norm(across, axis=1).astype(np.float32)


def yaw_degrees(landmarks: Float) -> Float:
    """Return the absolute head yaw in degrees, float32 [T], from 0 (frontal view) to 90 (profile view)."""
    across = landmarks[:, mesh478.RIGHT_EYE_OUTER] - landmarks[:, mesh478.LEFT_EYE_OUTER]
    return np.degrees(np.arctan2(np.abs(across[:, 2]), np.hypot(across[:, 0], across[:, 1]))).astype(np.float32)


def gaps(landmarks: Float) -> Float:
    """Return the gap between the inner lips at the mouth centre in eye distances, float32 [T].

    The gap is measured in the image plane.
    """
    upper, lower = mesh478.INNER_LIP_PAIRS[0]
    gap = np.linalg.norm(landmarks[:, lower, :2] - landmarks[:, upper, :2], axis=1)
    return (gap / np.maximum(eye_distance(landmarks), 1e-3)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class MouthRange:
    """Range of mouth opening in a clip, in eye distances."""

    rest: float
    """Lip gap at rest, estimated as the 5th percentile over the clip. A smiling mouth has a gap above 0 at rest."""
    span: float
    """Difference between the 95th percentile of the lip gap and ``rest``, clipped to [``MIN_SPAN``, ``MAX_SPAN``]."""

    @classmethod
    def measure(cls, analysis: Analysis) -> MouthRange:
        """Return the range of mouth opening over all frames of the clip.

        If the clip contains no face, ``rest`` is 0 and ``span`` is ``MIN_SPAN``.
        """
        count = analysis.source.info.frame_count
        seen = [gaps(analysis.landmarks(start, min(start + CHUNK, count))) for start in range(0, count, CHUNK)]
        gap = np.concatenate([np.zeros(0, np.float32), *seen])
        gap = gap[np.isfinite(gap)]
        if not len(gap):
            return cls(0.0, MIN_SPAN)
        rest, wide = (float(value) for value in np.quantile(gap, [0.05, 0.95]))
        return cls(rest, float(np.clip(wide - rest, MIN_SPAN, MAX_SPAN)))

    def gap(self, opening: Float) -> Float:
        """Return the lip gaps in eye distances, float32 [T].

        ``opening``: relative mouth opening, float32 [T], where 0 is at rest and 1 is wide open.
        """
        return np.asarray(self.rest + self.span * opening, np.float32)
