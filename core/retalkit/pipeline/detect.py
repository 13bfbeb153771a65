"""Face detection in every frame. The cached results do not depend on which face is selected for editing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from retalkit.geometry.face_tracker import area
from retalkit.observer import Observer
from retalkit.pipeline.detection_parts import FrameDetections, PartDetector, detect_in_parts
from retalkit.pipeline.run_helpers import SharedWork
from retalkit.stages import Face
from retalkit.storage.cache import CacheEntry, Folder
from retalkit.storage.row_file import RowReader, RowWriter

VERSION: Final = 4
"""Version number in the cache key. The number must be increased when the decoded frames, cut detection, the parts of a
clip or the storage format change."""

DESCRIPTION: Final = "detections.json"
_LANDMARKS = "face_landmarks.f32"
_BOXES = "face_boxes.f32"
_SCORES = "face_scores.f64"
_REASONS = "face_reasons.i32"
_COUNTS = "face_counts.i32"
_CUTS = "cuts.i32"

_ROWS: Final = 512


def is_complete(folder: CacheEntry) -> bool:
    """Return whether the detections in ``folder`` are complete. The description file is written last and marks
    completion."""
    return folder.has(DESCRIPTION, _LANDMARKS, _BOXES, _SCORES, _COUNTS, _CUTS)


def detect_faces(
    detector: PartDetector,
    parts: Sequence[tuple[int, int]],
    folder: Folder,
    observer: Observer,
    shared: SharedWork | None = None,
) -> None:
    """Detect the faces in every frame and store the detections and the shot boundaries.

    ``parts``: consecutive parts of the clip. ``shared``: other processes that detect parts at the same time, or None.

    Raises RunCancelledError between batches if the run is cancelled.
    """
    reasons = [""]
    landmarks_shape: tuple[int, ...] = (0, 3)
    found = 0
    with (
        folder.write(_LANDMARKS) as landmarks_path,
        folder.write(_BOXES) as boxes_path,
        folder.write(_SCORES) as scores_path,
        folder.write(_REASONS) as reasons_path,
        folder.write(_COUNTS) as counts_path,
        folder.write(_CUTS) as cuts_path,
        RowWriter(landmarks_path, np.float32) as landmarks_file,
        RowWriter(boxes_path, np.float32) as boxes_file,
        RowWriter(scores_path, np.float64) as scores_file,
        RowWriter(reasons_path, np.int32) as reasons_file,
        RowWriter(counts_path, np.int32) as counts_file,
        RowWriter(cuts_path, np.int32) as cuts_file,
    ):
        for frames in detect_in_parts(detector, parts, shared, lambda done: observer.advanced("faces", done)):
            cuts_file.append(np.array([frame.is_cut for frame in frames], np.int32))
            counts_file.append(np.array([len(frame.faces) for frame in frames], np.int32))
            for face in (face for frame in frames for face in frame.faces):
                landmarks_shape = face.landmarks.shape
                landmarks_file.append(np.asarray(face.landmarks, np.float32)[None])
                boxes_file.append(np.asarray(face.box, np.float32)[None])
                # Faces that contradict the image are never tracked.
                scores_file.append(np.array([0.0 if face.reason else face.score], np.float64))
                if face.reason not in reasons:
                    reasons.append(face.reason)
                reasons_file.append(np.array([reasons.index(face.reason)], np.int32))
                found += 1
    with folder.write(DESCRIPTION) as path:
        facts = {"scheme": detector.scheme, "landmarks_shape": landmarks_shape, "faces": found, "reasons": reasons}
        path.write_text(json.dumps(facts), encoding="utf-8")


class StoredDetections:
    """Cached detections of a clip."""

    def __init__(self, folder: Path) -> None:
        meta: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        self.scheme = str(meta["scheme"])
        self.landmarks_shape: tuple[int, ...] = tuple(meta["landmarks_shape"])
        self._landmarks = RowReader(folder / _LANDMARKS, np.float32, self.landmarks_shape)
        self._boxes = RowReader(folder / _BOXES, np.float32, (4,))
        self._scores = RowReader(folder / _SCORES, np.float64, ())
        self._names: list[str] = list(meta["reasons"])
        self._reasons = RowReader(folder / _REASONS, np.int32, ())
        self._counts = RowReader(folder / _COUNTS, np.int32, ())
        self._cuts = RowReader(folder / _CUTS, np.int32, ())

    @property
    def frame_count(self) -> int:
        return self._counts.count

    def __iter__(self) -> Iterator[FrameDetections]:
        """Yield the detections of every frame in order."""
        first = 0
        for start in range(0, self.frame_count, _ROWS):
            stop = min(start + _ROWS, self.frame_count)
            counts, cuts = self._counts.read(start, stop), self._cuts.read(start, stop)
            last = first + int(counts.sum())
            landmarks = self._landmarks.read(first, last)
            boxes, scores = self._boxes.read(first, last), self._scores.read(first, last)
            reasons = self._reasons.read(first, last)
            faces = [
                Face(box=box, landmarks=points, score=float(score), reason=self._names[int(reason)])
                for box, points, score, reason in zip(boxes, landmarks, scores, reasons, strict=True)
            ]
            ends = np.cumsum(counts)
            for row, (count, end, cut) in enumerate(zip(counts, ends, cuts, strict=True)):
                yield FrameDetections(start + row, bool(cut), faces[int(end - count) : int(end)])
            first = last

    def rejected(self) -> dict[int, str]:
        """Return the reason of the largest face that contradicts the image, for each frame index with such a face."""
        if len(self._names) == 1:
            return {}
        found: dict[int, str] = {}
        for frame in self:
            faces = [face for face in frame.faces if face.reason]
            if faces:
                found[frame.index] = max(faces, key=lambda face: area(face.box)).reason
        return found
