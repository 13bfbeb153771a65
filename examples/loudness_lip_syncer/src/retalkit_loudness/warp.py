"""Displacement field of the lips, chin and cheeks for a changed lip gap.

Mouth coordinates are defined as follows. The coordinate u increases along the mouth from -0.5 at one inner corner to
0.5 at the other inner corner. The coordinate v points down from the line between the inner corners. The unit of v is
the eye distance, which is the distance between the outer eye corners. All displacements are along v:

* Most of the gap change is applied to the lower lip and the chin. The displacement decreases laterally across the
  cheeks, and fades out on the neck below the chin.
* The remaining change is applied to the upper lip. The displacement fades out towards the nose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478

Float = NDArray[np.float32]

UPPER_SHARE = 0.15
"""Fraction of the gap change that is applied to the upper lip."""
CHEEKS = 1.0
"""Lateral extent of the displacement at chin height, in mouth widths from the mouth centre."""
NECK = 0.6
"""Distance below the chin over which the displacement fades out, in eye distances.

The distance exceeds the largest displacement, so that the warp does not fold.
"""
MAX_CHANGE = 0.35
"""Maximum change of the lip gap, in eye distances."""
RIM = 0.02
"""Width of the strip along each inner lip edge that is hidden when the lips close, in eye distances.

Otherwise, a line of teeth would remain visible at the lip edges.
"""
COLUMNS = 257
"""Number of samples along a lip edge."""


@dataclass(frozen=True, slots=True)
class MouthAxes:
    """Mouth coordinate system in the frame."""

    middle: Float
    """Mouth centre in pixels, float32 [2]."""
    along: Float
    """Unit vector along u, float32 [2]."""
    width: float
    """Number of pixels per unit of u."""
    eyes: float
    """Number of pixels per unit of v."""

    @classmethod
    def from_landmarks(cls, landmarks: Float, eyes: float) -> MouthAxes:
        """Return the axes for ``landmarks``, float32 [478, 3] in pixels.

        ``eyes``: distance between the outer eye corners in pixels.
        """
        left, right = landmarks[mesh478.INNER_LEFT_CORNER, :2], landmarks[mesh478.INNER_RIGHT_CORNER, :2]
        width = float(np.linalg.norm(right - left))
        return cls((left + right) / 2, (right - left) / max(width, 1e-3), width, eyes)

    @property
    def down(self) -> Float:
        """Unit vector along v, float32 [2]."""
        return np.array([-self.along[1], self.along[0]], np.float32)

    def coordinates(self, x: Float, y: Float) -> tuple[Float, Float]:
        """Return the mouth coordinates u and v, float32, of the pixel coordinates ``x`` and ``y``.

        ``x`` and ``y``: float32 arrays with broadcastable shapes.
        """
        x, y, down = x - self.middle[0], y - self.middle[1], self.down
        return (
            (x * self.along[0] + y * self.along[1]) / np.float32(self.width),
            (x * down[0] + y * down[1]) / np.float32(self.eyes),
        )

    def pixels(self, u: Float, v: Float) -> Float:
        """Return the pixel coordinates, float32 [N, 2], of the mouth coordinates ``u`` and ``v``, float32 [N] each."""
        return self.middle + (u * self.width)[:, None] * self.along + (v * self.eyes)[:, None] * self.down


@dataclass(frozen=True, slots=True)
class LipMove:
    """Displacement of the inner lip edges.

    Each edge is a v coordinate per column, float32 [COLUMNS], from the corner at u = -0.5 to the corner at u = 0.5.
    ``upper`` and ``lower``: edges before the displacement. ``new_upper`` and ``new_lower``: edges after the
    displacement.
    """

    upper: Float
    lower: Float
    new_upper: Float
    new_lower: Float
    nose: float
    """Coordinate v of the nose base."""
    chin: float
    """Coordinate v of the chin."""

    @classmethod
    def to_gap(cls, landmarks: Float, axes: MouthAxes, gap: float) -> LipMove:
        """Return the displacement that changes the lip gap at the mouth centre to ``gap`` eye distances.

        ``landmarks``: float32 [478, 3] in pixels. The change is limited to ``MAX_CHANGE``.
        """
        u, v = axes.coordinates(landmarks[:, 0], landmarks[:, 1])
        grid = np.linspace(-0.5, 0.5, COLUMNS)
        edges: list[Float] = []
        for points in (list(mesh478.UPPER_INNER_EDGE), list(mesh478.LOWER_INNER_EDGE)):
            order = np.argsort(u[points])
            edges.append(np.interp(grid, u[points][order], v[points][order]).astype(np.float32))
        # The landmarks of closed lips may be in the wrong vertical order.
        upper, lower = np.minimum(*edges), np.maximum(*edges)
        shown, bow = lower - upper, 1 - np.square(2 * grid)
        before = float(shown[COLUMNS // 2])
        rim = 0.0
        if gap >= before:
            after = shown + min(gap - before, MAX_CHANGE) * bow
        else:
            # Scale the gap uniformly, so that closing lips meet along their entire length.
            share = max(gap, before - MAX_CHANGE) / before
            after = shown * share
            rim = min(RIM, before) * (1 - share)
        new_upper = upper - UPPER_SHARE * (after - shown)
        new = (new_upper.astype(np.float32), (new_upper + after).astype(np.float32))
        upper, lower = (
            np.asarray(edge + side * rim * np.sqrt(bow), np.float32) for edge, side in ((upper, -1), (lower, 1))
        )
        return cls(upper, lower, *new, float(v[mesh478.NOSE_BASE]), float(v[mesh478.CHIN]))

    @property
    def lower_shift(self) -> float:
        """Downward displacement of the lower lip at its centre in eye distances. Negative values are upward."""
        return float((self.new_lower - self.lower)[COLUMNS // 2])

    @property
    def gap_before(self) -> float:
        """Maximum lip gap before the displacement, in eye distances."""
        return float((self.lower - self.upper).max())

    @property
    def gap_after(self) -> float:
        """Maximum lip gap after the displacement, in eye distances."""
        return float((self.new_lower - self.new_upper).max())

    def displacement(self, u: Float, v: Float, columns: NDArray[np.intp]) -> Float:
        """Return the downward displacement at (``u``, ``v``) in eye distances, float32 with the broadcast shape.

        ``columns``: indices of the lip edge samples at ``u``, as returned by ``edge_index``.
        """
        upper, lower = self.new_upper.take(columns), self.new_lower.take(columns)
        above = (self.new_upper - self.upper).take(columns) * smooth_step(v, self.nose, upper)
        own = (self.new_lower - self.lower).take(columns)
        jaw = self.lower_shift * np.square(np.maximum(1 - np.square(u / CHEEKS), 0))
        chin = self.chin + self.lower_shift
        below = own + (jaw - own) * smooth_step(v, lower, chin)
        below *= 1 - smooth_step(v, chin, self.chin + NECK)
        return np.where(v < (upper + lower) / 2, above, below).astype(np.float32)


def edge_index(u: Float) -> NDArray[np.intp]:
    """Return the index of the lip edge sample at ``u``.

    Positions outside the mouth are mapped to the sample at the nearest corner.
    """
    return np.clip(np.rint((u + 0.5) * (COLUMNS - 1)), 0, COLUMNS - 1).astype(np.intp)


def smooth_step(value: Float | float, low: Float | float, high: Float | float) -> Float:
    """Return a smooth transition from 0 at or below ``low`` to 1 at or above ``high``."""
    share = np.clip((value - low) / np.maximum(np.subtract(high, low, dtype=np.float32), np.float32(1e-4)), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)
