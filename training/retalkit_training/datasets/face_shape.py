"""Comparison of face shapes, which finds different people under one speaker name without a face recognition network.

The shape is the mean face mesh of a clip in the head frame. In real videos, shapes of one person differed by 0.3 to 2.3
percent of the distance between the outer eye corners, and shapes of different people by 2.0 to 5.1 percent.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.pose import person_template, rigid_fit, to_head_frame
from retalkit.geometry.schemes import MESH478

Float = NDArray[np.float32]

DIFFERENT: Final = 0.025
"""Shape distance above which two clips probably show different people. Some people have more similar shapes."""
_RIGID: Final = [
    index for index in range(mesh478.MESH_COUNT) if index not in mesh478.LIPS and index not in mesh478.AROUND_MOUTH
]
"""Mesh points that speech moves little."""


def mean_shape(landmarks: Float, scheme: str) -> Float | None:
    """Return the mean face in the head frame, float32 [478, 3], from landmarks in pixels, float32 [T, N, 3].

    Returns None for other schemes than ``mesh478``.
    """
    return person_template(landmarks) if scheme == MESH478 else None


def shape_distance(one: Float, other: Float) -> float:
    """Return the root mean square distance of two shapes in the frontal plane, in eye corner distances."""
    pose = rigid_fit(other[None, _RIGID], one[_RIGID])
    difference = (to_head_frame(other[None], pose)[0] - one)[_RIGID, :2]
    return float(np.sqrt(np.square(difference, dtype=np.float64).sum(axis=1).mean()))


def outliers(shapes: list[Float]) -> list[int]:
    """Return the positions of the shapes that differ from the most typical shape by more than ``DIFFERENT``.

    The most typical shape is chosen from at most 16 shapes, so that the cost is linear in their number.
    """
    step = max(len(shapes) // 16, 1)
    candidates = shapes[::step][:16]
    sums = [sum(min(shape_distance(one, other), DIFFERENT) for other in candidates) for one in candidates]
    typical = candidates[int(np.argmin(sums))] if candidates else None
    return [] if typical is None else [i for i, each in enumerate(shapes) if shape_distance(typical, each) > DIFFERENT]
