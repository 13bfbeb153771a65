"""Grouping of tracklets into persons by appearance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.face_tracker import intersection_over_union

Float = NDArray[np.float32]

SURE: Final = 0.75
"""Minimum confidence with which a tracklet is assigned to a person."""
MIN_FRAMES: Final = 6
"""Minimum length of a tracklet, in frames, that can become a separate person."""
_STEEPNESS: Final = 10.0
_CONTINUES: Final = 0.3
"""Decrease of the distance for a tracklet that appears where a person disappeared shortly before."""
_SHORT_ABSENCE: Final = 25
"""Number of frames that count as shortly."""


class Distance(Protocol):
    """Distance of two descriptors, see ``retalkit.stages.FaceRecogniser``."""

    def __call__(self, one: Float, other: Float, /) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracklet:
    """Detections of one face in consecutive frames of one shot."""

    number: int
    scene: int
    """Number of the shot, from 0."""
    first: int
    """Index of the first frame."""
    last: int
    """Index of the last frame."""
    frames: int
    """Number of frames in which the face was detected."""
    area: float
    """Sum of the box areas in square pixels."""
    first_box: tuple[float, float, float, float]
    last_box: tuple[float, float, float, float]

    def overlaps(self, other: Tracklet) -> bool:
        """Return whether both tracklets exist at the same time, so that they are different people."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Tracklets that were recognised as one person."""

    number: int
    """Number from 1. Persons are numbered in order of their total area in the video."""
    tracklets: tuple[int, ...]
    confidence: Mapping[int, float]
    """Confidence in [0, 1] of each tracklet."""

    @property
    def name(self) -> str:
        """Id of the person, such as ``p1``."""
        return f"p{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Persons:
    """All persons of a clip, and the tracklets whose person is unknown."""

    persons: tuple[Person, ...]
    uncertain: Mapping[int, tuple[int, float]]
    """Mapping from tracklet to the number of its most probable person and the confidence. The number is 0 for a
    tracklet that is too short or cannot be described."""
    possible: Mapping[int, frozenset[int]] = field(default_factory=dict[int, frozenset[int]])
    """Mapping from uncertain tracklet to the numbers of all persons that it may show. Two similar persons are both
    possible."""

    def of_tracklet(self, number: int) -> Person | None:
        """Return the person of a tracklet, or None if the person is unknown."""
        return next((person for person in self.persons if number in person.tracklets), None)


def needs_descriptors(tracklets: Sequence[Tracklet]) -> bool:
    """Return whether two of the tracklets could be one person."""
    return any(not one.overlaps(other) for place, one in enumerate(tracklets) for other in tracklets[place + 1 :])


def group_tracklets(
    tracklets: Sequence[Tracklet],
    descriptors: Mapping[int, Float],
    distance: Distance,
    *,
    min_frames: int = MIN_FRAMES,
) -> Persons:
    """Group tracklets into persons. Longer tracklets are assigned first.

    ``descriptors``: mapping from tracklet number to descriptor. A tracklet is assigned to a person if the confidence is
    at least ``SURE``. A tracklet that is clearly none of the known persons becomes a new person. All other tracklets
    are uncertain. ``min_frames``: minimum length of a tracklet that can become a separate person.
    """
    groups: list[list[Tracklet]] = []
    confidence: dict[int, float] = {}
    uncertain: dict[int, tuple[int, float]] = {}
    for tracklet in sorted(tracklets, key=lambda one: (-one.frames, one.number)):
        scores = [_same(tracklet, group, descriptors, distance) for group in groups]
        best = int(np.argmax(scores)) if scores else -1
        score = scores[best] if scores else 0.0
        rival = max((other for place, other in enumerate(scores) if place != best), default=0.0)
        sure = score * (1.0 - rival)
        if sure >= SURE:
            groups[best].append(tracklet)
            confidence[tracklet.number] = sure
        elif score <= 1 - SURE and tracklet.frames >= min_frames:
            groups.append([tracklet])
            confidence[tracklet.number] = 1.0 - score
        else:
            uncertain[tracklet.number] = (best, sure)
    order = sorted(range(len(groups)), key=lambda place: (-sum(one.area for one in groups[place]), place))
    renumbered = {place: number for number, place in enumerate(order, start=1)}
    possible = {
        tracklet.number: frozenset(
            renumbered[place]
            for place, group in enumerate(groups)
            if _same(tracklet, group, descriptors, distance) > 1 - SURE
        )
        for tracklet in tracklets
        if tracklet.number in uncertain
    }
    return Persons(
        persons=tuple(
            Person(
                number=renumbered[place],
                tracklets=tuple(sorted(one.number for one in groups[place])),
                confidence={one.number: round(confidence[one.number], 3) for one in groups[place]},
            )
            for place in order
        ),
        uncertain={number: (renumbered.get(place, 0), round(score, 3)) for number, (place, score) in uncertain.items()},
        possible=possible,
    )


def same_person(distance: float) -> float:
    """Return the confidence in [0, 1] that two faces with this distance are one person."""
    return float(1.0 / (1.0 + np.exp(np.clip(_STEEPNESS * (distance - 1.0), -60.0, 60.0))))


def _same(tracklet: Tracklet, group: Sequence[Tracklet], descriptors: Mapping[int, Float], distance: Distance) -> float:
    """Return the confidence that a tracklet belongs to a group.

    The result is 0 if the tracklet exists at the same time as the group, and 0.5 if nothing is known.
    """
    if any(tracklet.overlaps(other) for other in group):
        return 0.0
    own = descriptors.get(tracklet.number)
    known = [other for other in group if other.number in descriptors]
    if own is None or not known:
        return 0.5
    nearest = min(distance(own, descriptors[other.number]) for other in known)
    if any(_continues(tracklet, other) for other in group):
        nearest -= _CONTINUES
    return same_person(nearest)


def _continues(one: Tracklet, other: Tracklet) -> bool:
    """Return whether a tracklet begins or ends where the other one ends or begins, in the same shot."""
    before, after = (one, other) if one.first < other.first else (other, one)
    if before.scene != after.scene or after.first - before.last > _SHORT_ABSENCE:
        return False
    boxes = np.array([before.last_box, after.first_box], np.float32)
    return intersection_over_union(boxes[0], boxes[1]) >= 0.3
