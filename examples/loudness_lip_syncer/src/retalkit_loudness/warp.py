"""Displacement of lips, chin and cheeks for a change of the lip gap.

Mouth coordinates are in eye distances (between the outer eye corners). The coordinate u runs along the mouth from -0.5
to 0.5 at its inner corners, and v points down from the line between the corners. All displacements are along v:

* Most of the change is applied to the lower lip and the chin. The displacement of the cheeks decreases towards the
  sides. The displacement fades out on the neck below the chin.
* The rest of the change is applied to the upper lip. The upper lip's displacement fades out towards the nose.
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
"""Lateral extent of the displacement at chin height, in mouth widths from the middle."""
NECK = 0.6
"""Distance over which the displacement fades out below the chin. It exceeds the largest displacement."""
MAX_CHANGE = 0.35
"""Maximum change of the gap."""
RIM = 0.02
"""Width of the lip edges that closing lips hide. At these edges, the landmarks would leave a visible line of teeth."""
COLUMNS = 257
"""Number of samples along a lip edge."""


@dataclass(frozen=True, slots=True)
class MouthAxes:
    """Mouth coordinate system in the frame."""

    middle: Float
    """Middle of the mouth in pixels, float32 [2]."""
    along: Float
    """Unit vector of u, float32 [2]."""
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
        """Unit vector of v, float32 [2]."""
        return np.array([-self.along[1], self.along[0]], np.float32)

    def coordinates(self, x: Float, y: Float) -> tuple[Float, Float]:
        """Return u and v of the pixels ``x`` and ``y``, float32 with broadcastable shapes."""
        x, y, down = x - self.middle[0], y - self.middle[1], self.down
        return (
            (x * self.along[0] + y * self.along[1]) / np.float32(self.width),
            (x * down[0] + y * down[1]) / np.float32(self.eyes),
        )

    def pixels(self, u: Float, v: Float) -> Float:
        """Return the pixel coordinates, float32 [N, 2], of ``u`` and ``v``, float32 [N] each."""
        return self.middle + (u * self.width)[:, None] * self.along + (v * self.eyes)[:, None] * self.down


@dataclass(frozen=True, slots=True)
class LipMove:
    """Displacement of the inner lip edges.

    The edges are stored as v before and after the displacement, float32 [COLUMNS] from corner to corner.
    """

    upper: Float
    lower: Float
    new_upper: Float
    new_lower: Float
    nose: float
    """Coordinate v of the base of the nose."""
    chin: float

    @classmethod
    def to_gap(cls, landmarks: Float, axes: MouthAxes, gap: float) -> LipMove:
        """Return the displacement from ``landmarks``, float32 [478, 3], to a mouth with a ``gap`` at its middle."""
        u, v = axes.coordinates(landmarks[:, 0], landmarks[:, 1])
        grid = np.linspace(-0.5, 0.5, COLUMNS)
        edges: list[Float] = []
        for points in (list(mesh478.UPPER_INNER_EDGE), list(mesh478.LOWER_INNER_EDGE)):
            order = np.argsort(u[points])
            edges.append(np.interp(grid, u[points][order], v[points][order]).astype(np.float32))
        # Landmarks of closed lips may cross.
        upper, lower = np.minimum(*edges), np.maximum(*edges)
        shown, bow = lower - upper, 1 - np.square(2 * grid)
        before = float(shown[COLUMNS // 2])
        rim = 0.0
        if gap >= before:
            after = shown + min(gap - before, MAX_CHANGE) * bow
        else:
            # Scaled uniformly, so that closing lips meet along their whole length.
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
        """Downward displacement of the lower lip at its middle. Negative values are upward."""
        return float((self.new_lower - self.lower)[COLUMNS // 2])

    @property
    def gap_before(self) -> float:
        return float((self.lower - self.upper).max())

    @property
    def gap_after(self) -> float:
        return float((self.new_lower - self.new_upper).max())

    def displacement(self, u: Float, v: Float, columns: NDArray[np.intp]) -> Float:
        """Return the downward displacement of the pixels at (``u``, ``v``), float32 with their shape.

        ``columns``: lip edge samples from ``edge_index``.
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
    """Return the index of the lip edge sample at ``u``. Positions outside the mouth return the index of the corner."""
    return np.clip(np.rint((u + 0.5) * (COLUMNS - 1)), 0, COLUMNS - 1).astype(np.intp)


def smooth_step(value: Float | float, low: Float | float, high: Float | float) -> Float:
    """Return 0 below ``low``, 1 above ``high``, and a smooth transition between the two limits."""
    share = np.clip((value - low) / np.maximum(np.subtract(high, low, dtype=np.float32), np.float32(1e-4)), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)
