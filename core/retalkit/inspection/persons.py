"""Measurements of all persons in a video: how large the face is, and how far the mouth opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.schemes import IBUG68, convert, convertible
from retalkit.persons.grouping import Persons
from retalkit.pipeline.tracklets import StoredTracklets
from retalkit.stages import Face

Float = NDArray[np.float32]

OPENING_STEP = 0.04
"""Width in eye distances of one bar of the distribution of openings."""
TYPICAL_OPENING = 0.2
"""95th percentile of the opening of a talking person in eye distances, for comparison."""
_STEPS = 8
_EYES: Final = (36, 45)
_LIPS: Final = (62, 66)


@dataclass(slots=True)
class FaceMeasures:
    """Measurements of one person in all frames that show the person. Lists have one value per frame."""

    indexes: list[int] = field(default_factory=list[int])
    """Source frame indexes."""
    boxes: list[Float] = field(default_factory=list[Float])
    """Face boxes in pixels, float32 [4] each."""
    yaws: list[float] = field(default_factory=list[float])
    """Absolute yaw of the head in degrees, or 0 if the landmarks have no depth."""
    openings: list[float] = field(default_factory=list[float])
    """Lip openings in eye distances, or NaN if the landmarks do not include the lips."""

    def add(self, index: int, face: Face, scheme: str) -> None:
        """Add the person's face in one frame."""
        yaw, opening = _yaw_and_opening(face.landmarks, scheme)
        self.indexes.append(index)
        self.boxes.append(face.box)
        self.yaws.append(yaw)
        self.openings.append(opening)

    @property
    def widths(self) -> NDArray[np.float64]:
        return np.array([box[2] - box[0] for box in self.boxes], np.float64)

    @property
    def heights(self) -> NDArray[np.float64]:
        return np.array([box[3] - box[1] for box in self.boxes], np.float64)

    def best_row(self) -> int:
        """Return the row of the largest frontal face."""
        return int(np.argmax(self.widths * np.clip(1 - np.array(self.yaws) / 60, 0.05, 1)))

    def opening_range(self) -> float | None:
        """Return the 98th percentile of the known openings, or None if no opening is known."""
        known = self._known()
        return float(np.percentile(known, 98)) if len(known) else None

    def opening_distribution(self) -> tuple[float, ...]:
        """Return the share of the frames per step of ``OPENING_STEP``. The last value includes all larger openings."""
        known = self._known()
        if not len(known):
            return ()
        steps = np.minimum((known / OPENING_STEP).astype(int), _STEPS - 1)
        return tuple(float(each) for each in np.bincount(steps, minlength=_STEPS) / len(known))

    def _known(self) -> NDArray[np.float64]:
        values = np.array(self.openings, np.float64)
        return values[np.isfinite(values)]


def measure_persons(tracked: StoredTracklets, persons: Persons) -> tuple[dict[int, FaceMeasures], dict[int, int]]:
    """Return the measurements of each person, and the number of frames in which a face may be the person.

    Both mappings have the person numbers as keys.
    """
    numbers: Mapping[int, int] = {track: person.number for person in persons.persons for track in person.tracklets}
    found = {person.number: FaceMeasures() for person in persons.persons}
    uncertain = dict.fromkeys(found, 0)
    scheme = tracked.detections.scheme
    for frame, tracks in tracked:
        for face, track in zip(frame.faces, tracks.tolist(), strict=True):
            if track in numbers:
                found[numbers[track]].add(frame.index, face, scheme)
            elif track in persons.uncertain:
                for number in persons.possible.get(track, frozenset()) | {persons.uncertain[track][0]}:
                    if number in uncertain:
                        uncertain[number] += 1
    return found, uncertain


def _yaw_and_opening(landmarks: Float, scheme: str) -> tuple[float, float]:
    if IBUG68 not in convertible(scheme):
        return 0.0, float("nan")
    points = convert(landmarks, scheme, IBUG68).astype(np.float64)
    across = points[_EYES[1]] - points[_EYES[0]]
    eyes = float(np.linalg.norm(across))
    yaw = float(np.degrees(np.arctan2(abs(across[2]), np.hypot(across[0], across[1]))))
    gap = float(np.linalg.norm(points[_LIPS[1]] - points[_LIPS[0]]))
    return yaw, gap / eyes if eyes > 1e-3 else float("nan")
