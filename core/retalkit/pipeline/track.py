"""Face tracking, which selects one face from the stored detections of each frame and smooths the face's landmarks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

import numpy as np

from retalkit.geometry.face_tracker import NO_SHOT, FaceTracker, TrackedFace
from retalkit.geometry.smoothing import TrackSmoother
from retalkit.pipeline.analysis_store import BOXES, LANDMARKS, TRACK_DESCRIPTION, TRACKS
from retalkit.pipeline.detect import StoredDetections
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.pipeline.tracklets import StoredTracklets
from retalkit.storage.cache import CacheEntry, Folder
from retalkit.storage.row_file import RowWriter

VERSION: Final = 3
"""Version number in the cache key. The number must be increased when the result of tracking or smoothing changes."""


def is_complete(folder: CacheEntry) -> bool:
    """Return whether the track in ``folder`` is complete. The description file is written last and marks completion."""
    return folder.has(TRACK_DESCRIPTION, LANDMARKS, TRACKS, BOXES)


def face_count(folder: Folder) -> int:
    """Return the number of frames in which the tracked face was found."""
    return int(json.loads((folder.folder / TRACK_DESCRIPTION).read_text(encoding="utf-8"))["faces"])


def track_face(
    detections: StoredDetections, choice: int | Literal["largest"], folder: Folder, cancelled: Callable[[], bool]
) -> None:
    """Track one face, smooth the landmarks and boxes within each track, and store the results."""
    tracker = FaceTracker(choice)

    def tracked() -> Iterator[TrackedFace]:
        for frame in detections:
            yield from tracker.push(frame.index, frame.faces, frame.is_cut)
        yield from tracker.finish()

    _store(tracked(), detections, folder, cancelled)


def track_person(
    tracklets: StoredTracklets, numbers: frozenset[int], folder: Folder, cancelled: Callable[[], bool]
) -> None:
    """Join the tracklets of one person, smooth the landmarks and boxes within each track, and store the results.

    The stored files are those of ``track_face``.
    """

    def tracked() -> Iterator[TrackedFace]:
        shot, previous = NO_SHOT, -1
        for frame, face, number in tracklets.faces(numbers):
            shot += face is not None and number != previous
            previous = number
            yield TrackedFace(frame.index, face, NO_SHOT if face is None else shot)

    _store(tracked(), tracklets.detections, folder, cancelled)


def _store(
    tracked: Iterable[TrackedFace], detections: StoredDetections, folder: Folder, cancelled: Callable[[], bool]
) -> None:
    """Store landmarks in pixels (float32 [T, N, 3], NaN for frames without a face), bounding boxes (float32 [T, 4]),
    track numbers (int32 [T]), and a description."""
    smoother, box_smoother = TrackSmoother(), TrackSmoother(order=0)
    shape = detections.landmarks_shape
    found = 0
    with (
        folder.write(LANDMARKS) as landmarks_path,
        folder.write(TRACKS) as tracks_path,
        folder.write(BOXES) as boxes_path,
        RowWriter(landmarks_path, np.float32) as landmarks_file,
        RowWriter(tracks_path, np.int32) as tracks_file,
        RowWriter(boxes_path, np.float32) as boxes_file,
    ):
        for row in tracked:
            check_cancelled(cancelled)
            number = np.array([row.shot], np.int32)
            tracks_file.append(number)
            box = np.full(4, np.nan, np.float32) if row.face is None else np.asarray(row.face.box, np.float32)
            points = np.full(shape, np.nan, np.float32) if row.face is None else row.face.landmarks
            boxes_file.append(box_smoother.push(box[None], number))
            landmarks_file.append(smoother.push(points[None], number))
            found += row.face is not None
        landmarks_file.append(smoother.finish())
        boxes_file.append(box_smoother.finish())
    with folder.write(TRACK_DESCRIPTION) as path:
        path.write_text(json.dumps({"scheme": detections.scheme, "landmarks_shape": shape, "faces": found}))
