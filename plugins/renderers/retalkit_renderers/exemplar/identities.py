"""Grouping of a clip's tracks into identities. An identity is one person under one lighting condition.

Identities never share mouth exemplars. Each identity has separate measurements, bank rows and a separate occlusion
detector.
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
"""Minimum number of exemplars that an identity requires to be edited. The largest identity is always edited."""
MAX_IDENTITIES = 8
_COLOUR_DISTANCE = 12.0
"""Distance in CIE Lab at which two skin colours are considered to indicate different people or lighting."""
_SHAPE_DISTANCE = 0.045
"""Root mean square distance between stable points, in IOD, at which two faces are considered different."""
_STABLE = list(mesh478.STABLE)


@dataclass(frozen=True, slots=True)
class Identity:
    """One person under one lighting condition."""

    person: Person
    tracks: NDArray[np.int32]
    """Identity's track numbers in ascending order, int32."""
    rows: NDArray[np.int64]
    """Identity's bank rows in ascending order, int64."""
    occlusion_detector: OcclusionDetector | None
    """Occlusion detector fitted to the identity's mouth, or None if the identity has too few frames."""


def group_tracks(exemplars: Exemplars) -> list[NDArray[np.int32]]:
    """Return the sorted track numbers of each identity. The identity with the most exemplars is listed first."""
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
    """Return the index in ``identities`` for each track number, int32 [T]. The value is -1 for tracks without an
    identity.
    """
    out = np.full(len(tracks), -1, np.int32)
    for number, identity in enumerate(identities):
        out[np.isin(tracks, identity.tracks)] = number
    return out
