"""Tracking of all faces in a clip into tracklets.

A tracklet contains the detections of one person in consecutive frames. The tracker prefers many short tracklets to a
tracklet that contains two people: a tracklet ends at a cut, after a gap, when its face changes its shape suddenly, and
when two faces that overlapped separate. Tracklets of one person are joined by appearance (``retalkit.persons``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.face_tracker import KEEP_SCORE, SAME_PERSON, intersection_over_union
from retalkit.stages import Face

Float = NDArray[np.float32]

NO_TRACKLET: Final = -1
MIN_SCORE: Final = 0.5
LONGEST_GAP: Final = 12
"""Number of frames without a detection after which a tracklet ends."""
TOUCHING: Final = 0.05
"""Intersection over union of two faces above which the faces may be confused when they separate."""
AMBIGUOUS: Final = 0.5
"""Ratio of the second-best to the best overlap above which a match is ambiguous."""
SUDDEN_CHANGE: Final = 0.16
"""Mean displacement of the landmarks between consecutive frames, after alignment and in units of the face's size, above
which the face is considered another face."""


@dataclass(slots=True)
class _Open:
    number: int
    box: Float
    shape: Float
    last_seen: int
    touching: frozenset[int] = field(default_factory=frozenset[int])
    """Numbers of the tracklets whose faces overlapped this face in the last frame."""


class TrackletBuilder:
    """Assigns the faces of each frame to tracklets. Frames must be passed in order."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._next = 0
        self._position = 0

    def push(self, faces: Sequence[Face], is_cut: bool) -> NDArray[np.int32]:
        """Return the tracklet number of each face of the next frame, int32 [len(faces)], or -1 for discarded faces."""
        if is_cut:
            self._open = []
        position = self._position
        self._position += 1
        self._open = [track for track in self._open if position - track.last_seen <= LONGEST_GAP]
        overlaps = np.array(
            [[intersection_over_union(track.box, face.box) for face in faces] for track in self._open]
        ).reshape(len(self._open), len(faces))
        numbers = np.full(len(faces), NO_TRACKLET, np.int32)
        shown: dict[int, _Open] = {}
        for column, face in enumerate(faces):
            if not np.isfinite(face.landmarks).all():
                continue
            shape = normalised_shape(face.landmarks)
            track = self._match(overlaps, column, shape, position)
            threshold = MIN_SCORE * (KEEP_SCORE if track is not None and track.last_seen == position - 1 else 1.0)
            if face.score < threshold:
                continue
            if track is None:
                track = _Open(self._next, face.box, shape, position)
                self._next += 1
                self._open.append(track)
            track.box, track.shape, track.last_seen = face.box, shape, position
            numbers[column] = track.number
            shown[column] = track
        self._end_separated(faces, shown, position)
        return numbers

    def _match(self, overlaps: NDArray[np.float64], column: int, shape: Float, position: int) -> _Open | None:
        """Return the tracklet that the face continues, or None if there is none or if the match is ambiguous."""
        if not len(overlaps):
            return None
        row = int(overlaps[:, column].argmax())
        best = float(overlaps[row, column])
        if best < SAME_PERSON:
            return None
        rivals = np.concatenate([np.delete(overlaps[:, column], row), np.delete(overlaps[row], column)])
        if len(rivals) and rivals.max() > AMBIGUOUS * best:
            return None
        track = self._open[row]
        if track.last_seen == position or shape.shape != track.shape.shape:
            return None
        change = float(np.linalg.norm(shape - track.shape, axis=1).mean())
        return track if change <= SUDDEN_CHANGE else None

    def _end_separated(self, faces: Sequence[Face], shown: dict[int, _Open], position: int) -> None:
        """End all tracklets whose faces overlapped another face in the previous frame, but no longer do."""
        touching: dict[int, set[int]] = {track.number: set() for track in shown.values()}
        columns = sorted(shown)
        for place, one in enumerate(columns):
            for other in columns[place + 1 :]:
                if intersection_over_union(faces[one].box, faces[other].box) > TOUCHING:
                    touching[shown[one].number].add(shown[other].number)
                    touching[shown[other].number].add(shown[one].number)
        ended: set[int] = set()
        for track in self._open:
            now = touching.get(track.number)
            if now is None:
                # The face is hidden, possibly by the face that it touched.
                ended |= {track.number} if track.touching else set()
                continue
            if track.touching - now:
                ended.add(track.number)
            track.touching = frozenset(now)
        self._open = [track for track in self._open if track.number not in ended]


def normalised_shape(landmarks: Float) -> Float:
    """Return the landmarks' x and y relative to their mean, in units of their root mean square distance, float32 [N,
    2]."""
    points = landmarks[:, :2] - landmarks[:, :2].mean(0)
    size = float(np.sqrt((points**2).sum(1).mean()))
    return (points / max(size, 1e-6)).astype(np.float32)
