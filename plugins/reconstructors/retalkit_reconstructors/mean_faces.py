"""Mean faces: one per track, shared between tracks with similar faces."""

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
class MeanFaces:
    """The mean face of each track."""

    faces: Float
    """float32 [G, 478, 3] in the head frame; G is 0 if no frame has a face."""
    tracks: NDArray[np.int32]
    """int32 [S], track numbers, ascending."""
    groups: NDArray[np.int32]
    """int32 [S], the row in ``faces`` of each track."""

    def for_track(self, track: int) -> Float:
        """Return the mean face [478, 3] of a track of the clip. Raises KeyError for another track."""
        row = int(np.searchsorted(self.tracks, track))
        if row == len(self.tracks) or self.tracks[row] != track:
            raise KeyError(f"the clip has no track {track}")
        return self.faces[self.groups[row]]


@dataclass(frozen=True, slots=True)
class TrackFace:
    """The mean face of one track."""

    track: int
    count: int
    """Number of frames of the track."""
    face: Float


class TrackSampler:
    """Keeps between n and 2 n evenly spread frames of a track of unknown length."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._stride = 1
        self.count = 0
        self.kept: list[Float] = []

    def add(self, landmarks: Float) -> None:
        """Take the landmarks of the next frame."""
        if self.count % self._stride == 0:
            self.kept.append(landmarks.copy())
        self.count += 1
        if len(self.kept) >= 2 * self._target:
            del self.kept[1::2]
            self._stride *= 2


def track_faces(analysis: Analysis, frames_per_track: int) -> Iterator[TrackFace]:
    """Yield the mean face of every track, in order. Reads the landmarks once, in chunks."""
    current = -1
    sampler = TrackSampler(frames_per_track)
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
                    yield TrackFace(current, sampler.count, person_template(np.stack(sampler.kept)))
                current, sampler = int(number), TrackSampler(frames_per_track)
            sampler.add(row)
    if sampler.count:
        yield TrackFace(current, sampler.count, person_template(np.stack(sampler.kept)))


def group_tracks(tracks: Iterable[TrackFace], min_track: int, same_person: float) -> MeanFaces:
    """Group tracks whose mean faces differ by less than ``same_person`` (root mean square in IOD).

    Mean faces of one person in one calm track differ by up to 0.03 with the viewing angle, about as much as those of
    two people: this distinguishes geometry, not identity. A track of fewer than ``min_track`` frames never starts a
    group unless there is no other.
    """
    ordered = sorted(tracks, key=lambda track: track.track)
    # Long tracks first: their mean faces are the most reliable, and shorter tracks join them.
    ranked = sorted(ordered, key=lambda track: (-track.count, track.track))
    sums: list[NDArray[np.float64]] = []
    weights: list[int] = []
    chosen: dict[int, int] = {}
    for track in ranked:
        aligned = [
            align(track.face, (total / weight).astype(np.float32)) for total, weight in zip(sums, weights, strict=True)
        ]
        distances = [distance for _, distance in aligned]
        nearest = int(np.argmin(distances)) if distances else -1
        if nearest < 0 or (distances[nearest] >= same_person and track.count >= min_track):
            chosen[track.track] = len(sums)
            sums.append(track.face.astype(np.float64) * track.count)
            weights.append(track.count)
            continue
        chosen[track.track] = nearest
        if distances[nearest] < same_person:
            sums[nearest] += aligned[nearest][0].astype(np.float64) * track.count
            weights[nearest] += track.count
    faces = [unit_size(total / weight) for total, weight in zip(sums, weights, strict=True)]
    return MeanFaces(
        np.stack(faces) if faces else np.empty((0, mesh478.COUNT, 3), np.float32),
        np.array([track.track for track in ordered], np.int32),
        np.array([chosen[track.track] for track in ordered], np.int32),
    )


def align(face: Float, reference: Float) -> tuple[Float, float]:
    """Align ``face`` with another mean face. Returns it and the root mean square distance of the stable points."""
    moved = to_head_frame(face[None], rigid_fit(face[None, STABLE], reference[STABLE]))[0]
    distance = np.sqrt(((moved[STABLE] - reference[STABLE]) ** 2).sum(1).mean())
    return moved, float(distance)


def unit_size(face: NDArray[np.float64]) -> Float:
    """Return the face scaled to a distance of 1 between the outer eye corners."""
    size = np.linalg.norm(face[mesh478.RIGHT_EYE_OUTER] - face[mesh478.LEFT_EYE_OUTER])
    return (face / size).astype(np.float32)
