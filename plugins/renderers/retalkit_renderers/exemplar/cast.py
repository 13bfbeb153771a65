"""Who is in the clip: shots are sorted into groups that show the same person in the same light.

A mouth is never taken from another group. Each group has its own measures, its own part of the bank and its own
idea of what hides a mouth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478

from retalkit_renderers.exemplar.bank import Exemplars
from retalkit_renderers.exemplar.occlusion import OcclusionGuard
from retalkit_renderers.exemplar.person import Person

Float = NDArray[np.float32]

FEWEST_FRAMES = 24
"""A smaller group is left alone, unless it is the largest."""
MOST_GROUPS = 8
_COLOUR = 12.0
"""Distance in Lab at which skin counts as another's, or as lit differently."""
_SHAPE = 0.045
"""Distance in IOD at which the still points of a face count as another's."""
_STABLE = list(mesh478.STABLE)


@dataclass(frozen=True, slots=True)
class Member:
    """One person in one light."""

    person: Person
    shots: NDArray[np.int32]
    """int32, sorted: the tracks that show this member."""
    rows: NDArray[np.int64]
    """int64, sorted: the rows of the bank that belong to it."""
    guard: OcclusionGuard | None
    """What is usual around this mouth; None where too little was seen."""


def group_shots(exemplars: Exemplars) -> list[NDArray[np.int32]]:
    """Sorted shot numbers of each group, the group with most exemplars first."""
    heads = exemplars.heads[:, _STABLE, :2]
    groups: list[tuple[list[int], int, Float, Float]] = []
    for shot in np.unique(exemplars.shots):
        rows = exemplars.shots == shot
        colour, shape = np.median(exemplars.skin[rows], axis=0), np.median(heads[rows], axis=0)
        size = int(rows.sum())
        for number, (shots, weight, group_colour, group_shape) in enumerate(groups):
            apart = np.linalg.norm(colour - group_colour) / _COLOUR
            unlike = np.sqrt(((shape - group_shape) ** 2).sum(-1).mean()) / _SHAPE
            if np.hypot(apart, unlike) < 1:
                share = size / (weight + size)
                mean = (group_colour + share * (colour - group_colour), group_shape + share * (shape - group_shape))
                groups[number] = ([*shots, int(shot)], weight + size, *mean)
                break
        else:
            groups.append(([int(shot)], size, colour, shape))
    groups.sort(key=lambda group: -group[1])
    kept = [group for number, group in enumerate(groups[:MOST_GROUPS]) if number == 0 or group[1] >= FEWEST_FRAMES]
    return [np.array(sorted(group[0]), np.int32) for group in kept]


def member_of(cast: list[Member], shots: NDArray[np.int32]) -> NDArray[np.int32]:
    """int32 [T]: which member of the cast each shot number shows; -1: none."""
    out = np.full(len(shots), -1, np.int32)
    for number, member in enumerate(cast):
        out[np.isin(shots, member.shots)] = number
    return out
