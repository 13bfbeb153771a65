"""Groups the tracks of a clip into identities: one person under one lighting.

A mouth is never taken from another identity. Each identity has its own measurements, its own rows of the exemplar bank
and its own occlusion detector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478

from retalkit_renderers.exemplar.bank import Exemplars
from retalkit_renderers.exemplar.occlusion import OcclusionDetector
from retalkit_renderers.exemplar.person import Person

Float = NDArray[np.float32]

MIN_FRAMES = 24
"""A smaller group is not edited, unless it is the largest."""
MAX_IDENTITIES = 8
_COLOUR_DISTANCE = 12.0
"""Distance in Lab from which skin counts as another person's, or as lit differently."""
_SHAPE_DISTANCE = 0.045
"""Distance in IOD from which the stable points count as those of another face."""
_STABLE = list(mesh478.STABLE)


@dataclass(frozen=True, slots=True)
class Identity:
    """One person under one lighting."""

    person: Person
    tracks: NDArray[np.int32]
    """int32, sorted: the tracks that show this identity."""
    rows: NDArray[np.int64]
    """int64, sorted: the rows of the bank that belong to it."""
    occlusion_detector: OcclusionDetector | None
    """Fitted to this mouth; None where there were too few frames."""


def group_tracks(exemplars: Exemplars) -> list[NDArray[np.int32]]:
    """Return the sorted track numbers of each identity, the identity with the most exemplars first."""
    heads = exemplars.heads[:, _STABLE, :2]
    groups: list[tuple[list[int], int, Float, Float]] = []
    for track in np.unique(exemplars.tracks):
        rows = exemplars.tracks == track
        colour, shape = np.median(exemplars.skin[rows], axis=0), np.median(heads[rows], axis=0)
        size = int(rows.sum())
        for number, (tracks, weight, group_colour, group_shape) in enumerate(groups):
            colour_distance = np.linalg.norm(colour - group_colour) / _COLOUR_DISTANCE
            shape_distance = np.sqrt(((shape - group_shape) ** 2).sum(-1).mean()) / _SHAPE_DISTANCE
            if np.hypot(colour_distance, shape_distance) < 1:
                share = size / (weight + size)
                mean = (group_colour + share * (colour - group_colour), group_shape + share * (shape - group_shape))
                groups[number] = ([*tracks, int(track)], weight + size, *mean)
                break
        else:
            groups.append(([int(track)], size, colour, shape))
    groups.sort(key=lambda group: -group[1])
    kept = [group for number, group in enumerate(groups[:MAX_IDENTITIES]) if number == 0 or group[1] >= MIN_FRAMES]
    return [np.array(sorted(group[0]), np.int32) for group in kept]


def identity_numbers(identities: list[Identity], tracks: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return int32 [T]: the position in ``identities`` that each track number shows; -1: none."""
    out = np.full(len(tracks), -1, np.int32)
    for number, identity in enumerate(identities):
        out[np.isin(tracks, identity.tracks)] = number
    return out
