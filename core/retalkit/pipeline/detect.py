"""Face detection in every frame. The cached results do not depend on which face is selected for editing."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from retalkit.geometry.face_tracker import area
from retalkit.geometry.scene_cuts import CutDetector, sampling_step, thumbnail_of_samples
from retalkit.media.decoded_frames import DecodedFrames
from retalkit.media.prefetch import ReadAhead
from retalkit.media.sources import VideoSource
from retalkit.observer import Observer
from retalkit.pipeline.analysis_store import LimitedSource
from retalkit.pipeline.face_checks import FaceChecker
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.stages import DetectorSession, Face, FrameBatch, Source
from retalkit.storage.cache import CacheEntry, Folder
from retalkit.storage.row_file import RowReader, RowWriter

VERSION: Final = 3
"""Version number in the cache key. The number must be increased when the decoded frames, cut detection or the storage
format change."""

DESCRIPTION: Final = "detections.json"
_LANDMARKS = "face_landmarks.f32"
_BOXES = "face_boxes.f32"
_SCORES = "face_scores.f64"
_REASONS = "face_reasons.i32"
_COUNTS = "face_counts.i32"
_CUTS = "cuts.i32"

_BATCH_BYTES: Final = 24 << 20
_ROWS: Final = 512


@dataclass(frozen=True, slots=True)
class FrameDetections:
    """Detection results for one frame."""

    index: int
    """Frame index in the source video."""
    is_cut: bool
    """Whether a new shot starts at this frame."""
    faces: list[Face]


def frame_batches(source: Source, start: int, stop: int) -> Generator[FrameBatch, None, None]:
    """Yield frames [start, stop) in batches of limited size, with the starts of shots after ``start``.

    A background thread decodes the frames in advance and detects the scene cuts. The frames of a video are converted to
    RGB only where they are read.
    """
    batches = ReadAhead(_batches(source, start, stop), depth=1)
    try:
        yield from batches
    finally:
        batches.close()


def _batches(source: Source, start: int, stop: int) -> Iterator[FrameBatch]:
    info, cuts = source.info, CutDetector()
    size = max(1, min(16, _BATCH_BYTES // max(1, info.width * info.height * 3)))
    step = sampling_step(info.width, info.height)
    video = source.complete if isinstance(source, LimitedSource) else source
    decodes = isinstance(video, VideoSource)
    frames = video.read_video_frames(range(start, stop)) if decodes else source.read(range(start, stop))
    for first in range(start, stop, size):
        last = min(first + size, stop)
        read: list[Any] = [frame for _, frame in islice(frames, last - first)]
        make = partial(DecodedFrames, read) if decodes else partial(FrameBatch, np.stack(read))
        times, indexes = source.times(first, last), np.arange(first, last, dtype=np.int64)
        batch = make(times, indexes)
        samples = (batch.sampled(row, step) for row in range(last - first))
        starts = [cuts.starts_shot(thumbnail_of_samples(each)) for each in samples]
        yield make(times, indexes, np.array(starts, np.bool_))


def is_complete(folder: CacheEntry) -> bool:
    """Return whether the detections in ``folder`` are complete. The description file is written last and marks
    completion."""
    return folder.has(DESCRIPTION, _LANDMARKS, _BOXES, _SCORES, _COUNTS, _CUTS)


def detect_faces(
    source: Source,
    session: DetectorSession,
    scheme: str,
    folder: Folder,
    observer: Observer,
    cancelled: Callable[[], bool],
) -> None:
    """Detect the faces in every frame and store the detections and the shot boundaries.

    Raises RunCancelledError between batches if ``cancelled()`` returns True.
    """
    checker = FaceChecker(scheme)
    kept = source.kept_faces if isinstance(source, LimitedSource) else None
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
        for batch in frame_batches(source, 0, source.info.frame_count):
            check_cancelled(cancelled)
            cuts_file.append(np.asarray(batch.shot_starts, np.int32))
            for row, faces in enumerate(session.detect(batch)):
                counts_file.append(np.array([len(faces)], np.int32))
                if kept is not None and isinstance(batch, DecodedFrames):
                    kept.add(int(batch.indexes[row]), batch.decoded[row], [face.landmarks for face in faces])
                for face in checker.check(batch, row, faces):
                    landmarks_shape = face.landmarks.shape
                    landmarks_file.append(np.asarray(face.landmarks, np.float32)[None])
                    boxes_file.append(np.asarray(face.box, np.float32)[None])
                    # Faces that contradict the image are never tracked.
                    scores_file.append(np.array([0.0 if face.reason else face.score], np.float64))
                    if face.reason not in reasons:
                        reasons.append(face.reason)
                    reasons_file.append(np.array([reasons.index(face.reason)], np.int32))
                found += len(faces)
            observer.advanced("faces", int(batch.indexes[-1]) + 1)
    with folder.write(DESCRIPTION) as path:
        facts = {"scheme": scheme, "landmarks_shape": landmarks_shape, "faces": found, "reasons": reasons}
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
