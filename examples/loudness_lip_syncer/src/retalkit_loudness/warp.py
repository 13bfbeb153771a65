"""How the lips move from the gap that a frame shows to another one.

All is told in coordinates of the mouth: u along it (-0.5 and 0.5 at its inner corners), v down from the line between
the corners, in distances between the outer eye corners. Everything moves along v only:

* the lower lip takes most of the way and the chin goes with it; the skin of the cheeks the less, the further to the
  side it is; below the chin the move fades out on the neck;
* the upper lip takes the rest, fading out at the nose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478

Float = NDArray[np.float32]

UPPER_SHARE = 0.15
"""How much of the way the upper lip takes."""
CHEEKS = 1.0
"""How far to the sides the skin at the height of the chin moves, in widths of the mouth from its middle."""
NECK = 0.6
"""Below the chin the move fades out over this distance, which is more than the longest way."""
LONGEST = 0.35
"""The most that the gap changes."""
RIM = 0.02
"""Lips that close hide so much of their own edges, where landmarks leave a line of teeth."""
COLUMNS = 257
"""Values along a lip edge."""


@dataclass(frozen=True, slots=True)
class MouthAxes:
    """Where the coordinates of the mouth lie in the frame."""

    middle: Float
    """float32 [2] in pixels."""
    along: Float
    """float32 [2], the unit vector of u."""
    width: float
    """Pixels for one u."""
    eyes: float
    """Pixels for one v."""

    @classmethod
    def of(cls, landmarks: Float, eyes: float) -> MouthAxes:
        """For landmarks float32 [478, 3] in pixels whose outer eye corners are ``eyes`` pixels apart."""
        left, right = landmarks[mesh478.INNER_LEFT_CORNER, :2], landmarks[mesh478.INNER_RIGHT_CORNER, :2]
        width = float(np.linalg.norm(right - left))
        return cls((left + right) / 2, (right - left) / max(width, 1e-3), width, eyes)

    @property
    def down(self) -> Float:
        """float32 [2], the unit vector of v."""
        return np.array([-self.along[1], self.along[0]], np.float32)

    def coordinates(self, x: Float, y: Float) -> tuple[Float, Float]:
        """u and v of pixels; ``x`` and ``y`` are float32 of shapes that go together."""
        x, y, down = x - self.middle[0], y - self.middle[1], self.down
        return (
            (x * self.along[0] + y * self.along[1]) / np.float32(self.width),
            (x * down[0] + y * down[1]) / np.float32(self.eyes),
        )

    def pixels(self, u: Float, v: Float) -> Float:
        """float32 [N, 2] of float32 [N] each."""
        return self.middle + (u * self.width)[:, None] * self.along + (v * self.eyes)[:, None] * self.down


@dataclass(frozen=True, slots=True)
class LipMove:
    """v of the inner edges of both lips, as they are and as they shall be, float32 [COLUMNS] from corner to corner."""

    upper: Float
    lower: Float
    new_upper: Float
    new_lower: Float
    nose: float
    """v of the nose's base."""
    chin: float

    @classmethod
    def to_gap(cls, landmarks: Float, axes: MouthAxes, gap: float) -> LipMove:
        """From landmarks float32 [478, 3] to a mouth with that gap in its middle."""
        u, v = axes.coordinates(landmarks[:, 0], landmarks[:, 1])
        grid = np.linspace(-0.5, 0.5, COLUMNS)
        edges: list[Float] = []
        for points in (list(mesh478.UPPER_INNER_EDGE), list(mesh478.LOWER_INNER_EDGE)):
            order = np.argsort(u[points])
            edges.append(np.interp(grid, u[points][order], v[points][order]).astype(np.float32))
        # Where the landmarks of closed lips cross, they meet.
        upper, lower = np.minimum(*edges), np.maximum(*edges)
        shown, bow = lower - upper, 1 - np.square(2 * grid)
        before = float(shown[COLUMNS // 2])
        rim = 0.0
        if gap >= before:
            after = shown + min(gap - before, LONGEST) * bow
        else:
            # By the same share everywhere, so that lips which close meet in their whole length.
            share = max(gap, before - LONGEST) / before
            after = shown * share
            rim = min(RIM, before) * (1 - share)
        new_upper = upper - UPPER_SHARE * (after - shown)
        new = (new_upper.astype(np.float32), (new_upper + after).astype(np.float32))
        upper, lower = (
            np.asarray(edge + side * rim * np.sqrt(bow), np.float32) for edge, side in ((upper, -1), (lower, 1))
        )
        return cls(upper, lower, *new, float(v[mesh478.NOSE_BASE]), float(v[mesh478.CHIN]))

    @property
    def way(self) -> float:
        """How far the lower lip goes down in the middle; negative: up."""
        return float((self.new_lower - self.lower)[COLUMNS // 2])

    @property
    def gap_before(self) -> float:
        return float((self.lower - self.upper).max())

    @property
    def gap_after(self) -> float:
        return float((self.new_lower - self.new_upper).max())

    def moved(self, u: Float, v: Float, columns: NDArray[np.intp]) -> Float:
        """How far down the skin came that is to be seen at (u, v), float32 like them; ``columns`` see ``column``."""
        upper, lower = self.new_upper.take(columns), self.new_lower.take(columns)
        above = (self.new_upper - self.upper).take(columns) * smooth_step(v, self.nose, upper)
        own = (self.new_lower - self.lower).take(columns)
        jaw = self.way * np.square(np.maximum(1 - np.square(u / CHEEKS), 0))
        chin = self.chin + self.way
        below = own + (jaw - own) * smooth_step(v, lower, chin)
        below *= 1 - smooth_step(v, chin, self.chin + NECK)
        return np.where(v < (upper + lower) / 2, above, below).astype(np.float32)


def column(u: Float) -> NDArray[np.intp]:
    """Number of the value along a lip edge that belongs to u; beside the mouth that of the corner."""
    return np.clip(np.rint((u + 0.5) * (COLUMNS - 1)), 0, COLUMNS - 1).astype(np.intp)


def smooth_step(value: Float | float, low: Float | float, high: Float | float) -> Float:
    """0 below ``low``, 1 above ``high``, smooth between them."""
    share = np.clip((value - low) / np.maximum(np.subtract(high, low, dtype=np.float32), np.float32(1e-4)), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)
