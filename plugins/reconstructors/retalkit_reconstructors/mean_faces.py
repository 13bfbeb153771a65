"""Mean faces: one for each shot, shared between shots that look alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.pose import person_template, rigid_fit, to_head_frame
from retalkit.stages import Analysis

Float = NDArray[np.float32]

CHUNK: Final = 256
"""Frames read from the analysis at a time."""
STABLE: Final = list(mesh478.STABLE)


@dataclass(frozen=True, slots=True)
class Templates:
    """Which mean face each shot is fitted with."""

    faces: Float
    """float32 [G, 478, 3] in the head frame; G may be 0 when no frame has a face."""
    shots: NDArray[np.int32]
    """int32 [S], ascending numbers of the shots."""
    groups: NDArray[np.int32]
    """int32 [S], the face of each shot."""

    def of(self, shot: int) -> Float:
        """The mean face [478, 3] of a shot that was seen when the templates were made."""
        place = int(np.searchsorted(self.shots, shot))
        if place == len(self.shots) or self.shots[place] != shot:
            raise KeyError(f"shot {shot} is not one of the analysed clip")
        return self.faces[self.groups[place]]


@dataclass(frozen=True, slots=True)
class ShotFace:
    """The mean face of one shot."""

    shot: int
    count: int
    """Frames of the shot."""
    face: Float


class ShotSampler:
    """Keeps between n and 2 n evenly spread frames of a shot whose length is not known beforehand."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._stride = 1
        self.count = 0
        self.kept: list[Float] = []

    def add(self, landmarks: Float) -> None:
        if self.count % self._stride == 0:
            self.kept.append(landmarks.copy())
        self.count += 1
        if len(self.kept) >= 2 * self._wanted:
            del self.kept[1::2]
            self._stride *= 2


def shot_faces(analysis: Analysis, wanted: int) -> Iterator[ShotFace]:
    """The mean face of every shot, in order; reads the landmarks once, a chunk at a time."""
    current = -1
    sampler = ShotSampler(wanted)
    count = analysis.source.info.frame_count
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        numbers = analysis.tracks(start, stop)
        if not (numbers >= 0).any():
            continue
        rows = analysis.landmarks(start, stop)
        for row, number in zip(rows, numbers, strict=True):
            if number < 0 or not np.isfinite(row).all():
                continue
            if number != current:
                if sampler.count:
                    yield ShotFace(current, sampler.count, person_template(np.stack(sampler.kept)))
                current, sampler = int(number), ShotSampler(wanted)
            sampler.add(row)
    if sampler.count:
        yield ShotFace(current, sampler.count, person_template(np.stack(sampler.kept)))


def group(shots: Iterable[ShotFace], min_shot: int, same_person: float) -> Templates:
    """Lets shots share a mean face where theirs differ by less than ``same_person`` (root mean square in IOD).

    Mean faces of one person in one calm shot differ by up to 0.03 with the angle from which they were seen, about as
    much as those of two persons: this tells geometry apart, not identity. A shot of fewer than ``min_shot`` frames
    never opens a group unless no other shot is there to share with.
    """
    everything = sorted(shots, key=lambda shot: shot.shot)
    # Long shots first, so that the faces that many frames agree on are the ones that others join.
    ranked = sorted(everything, key=lambda shot: (-shot.count, shot.shot))
    sums: list[NDArray[np.float64]] = []
    weights: list[int] = []
    chosen: dict[int, int] = {}
    for shot in ranked:
        aligned = [
            align(shot.face, (total / weight).astype(np.float32)) for total, weight in zip(sums, weights, strict=True)
        ]
        distances = [distance for _, distance in aligned]
        nearest = int(np.argmin(distances)) if distances else -1
        if nearest < 0 or (distances[nearest] >= same_person and shot.count >= min_shot):
            chosen[shot.shot] = len(sums)
            sums.append(shot.face.astype(np.float64) * shot.count)
            weights.append(shot.count)
            continue
        chosen[shot.shot] = nearest
        if distances[nearest] < same_person:
            sums[nearest] += aligned[nearest][0].astype(np.float64) * shot.count
            weights[nearest] += shot.count
    faces = [unit_size(total / weight) for total, weight in zip(sums, weights, strict=True)]
    return Templates(
        np.stack(faces) if faces else np.empty((0, mesh478.COUNT, 3), np.float32),
        np.array([shot.shot for shot in everything], np.int32),
        np.array([chosen[shot.shot] for shot in everything], np.int32),
    )


def align(face: Float, onto: Float) -> tuple[Float, float]:
    """``face`` moved onto another mean face, and the root mean square distance of the stable points that is left."""
    moved = to_head_frame(face[None], rigid_fit(face[None, STABLE], onto[STABLE]))[0]
    distance = np.sqrt(((moved[STABLE] - onto[STABLE]) ** 2).sum(1).mean())
    return moved, float(distance)


def unit_size(face: NDArray[np.float64]) -> Float:
    """The face with a distance of 1 between its outer eye corners."""
    size = np.linalg.norm(face[mesh478.RIGHT_EYE_OUTER] - face[mesh478.LEFT_EYE_OUTER])
    return (face / size).astype(np.float32)
