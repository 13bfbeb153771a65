"""Mean faces of tracks. Tracks with similar faces share one mean face."""

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
"""Number of frames that are loaded from the analysis at a time."""
STABLE: Final = list(mesh478.STABLE)


@dataclass(frozen=True, slots=True)
class MeanFaces:
    """Mapping from track to mean face. Several tracks may share one mean face."""

    faces: Float
    """Mean faces in the head frame, float32 [G, 478, 3]. G is 0 if no frame contains a face."""
    tracks: NDArray[np.int32]
    """Ascending track numbers, int32 [S]."""
    groups: NDArray[np.int32]
    """Index in ``faces`` for each track, int32 [S]."""

    def for_track(self, track: int) -> Float:
        """Return the mean face for a track, [478, 3]. Raises KeyError if the clip does not contain the track."""
        row = int(np.searchsorted(self.tracks, track))
        if row == len(self.tracks) or self.tracks[row] != track:
            raise KeyError(f"the clip does not contain track {track}")
        return self.faces[self.groups[row]]


@dataclass(frozen=True, slots=True)
class TrackFace:
    """Mean face of one track."""

    track: int
    count: int
    """Number of frames in the track."""
    face: Float


class TrackSampler:
    """Sampler that retains between n and 2 n evenly spaced frames from a track of unknown length."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._stride = 1
        self.count = 0
        self.kept: list[Float] = []

    def add(self, landmarks: Float) -> None:
        """Add the landmarks of the next frame."""
        if self.count % self._stride == 0:
            self.kept.append(landmarks.copy())
        self.count += 1
        if len(self.kept) >= 2 * self._target:
            del self.kept[1::2]
            self._stride *= 2


def track_faces(analysis: Analysis, frames_per_track: int) -> Iterator[TrackFace]:
    """Yield the mean face of each track in order. The landmarks are loaded once, in chunks."""
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
    """Group tracks whose mean faces have a root mean square difference of less than ``same_person`` IOD.

    Within one stable track of one person, mean faces vary by up to 0.03 with the viewing angle. The difference between
    two people is about as large. The grouping therefore distinguishes face geometry rather than identity. A track with
    fewer than ``min_track`` frames starts a group only if there is no other group.
    """
    ordered = sorted(tracks, key=lambda track: track.track)
    # Long tracks are processed first, because their mean faces are the most reliable. Shorter tracks join the resulting
    # groups.
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
    """Return ``face``, aligned with ``reference``, and the root mean square distance between the stable points."""
    moved = to_head_frame(face[None], rigid_fit(face[None, STABLE], reference[STABLE]))[0]
    distance = np.sqrt(((moved[STABLE] - reference[STABLE]) ** 2).sum(1).mean())
    return moved, float(distance)


def unit_size(face: NDArray[np.float64]) -> Float:
    """Return the face, scaled to a distance of 1 between the outer eye corners."""
    size = np.linalg.norm(face[mesh478.RIGHT_EYE_OUTER] - face[mesh478.LEFT_EYE_OUTER])
    return (face / size).astype(np.float32)
