"""Pass 1: finds, follows and smooths the face, and fits the face model. What it finds lies in the cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.face_tracker import FaceTracker, TrackedFace
from retalkit.geometry.scene_cuts import CutDetector
from retalkit.geometry.smoothing import TrackSmoother
from retalkit.media.prefetch import read_ahead
from retalkit.observer import Observer
from retalkit.pipeline.analysis_store import BOXES, COEFFICIENTS, FACES, LANDMARKS, SHOTS, StoredAnalysis
from retalkit.stages import DetectorSession, FrameBatch, ReconstructorSession, Source
from retalkit.storage.cache import Folder
from retalkit.storage.row_file import RowWriter

VERSION: Final = 2
"""Part of the cache keys: raise it when tracking, cut detection or smoothing change their result."""

_BATCH_BYTES: Final = 24 << 20
_ROWS: Final = 256


def is_complete(folder: Folder) -> bool:
    """Whether the step of this folder was finished: its description is written last."""
    return folder.path(FACES) is not None


def faces_found(folder: Folder) -> int:
    """In how many frames the followed face was found."""
    return int(json.loads((folder.folder / FACES).read_text(encoding="utf-8"))["faces"])


def frame_batches(source: Source, start: int, stop: int) -> Iterator[FrameBatch]:
    """Frames [start, stop) in batches bounded in bytes, decoded ahead in a thread."""
    info = source.info
    size = max(1, min(16, _BATCH_BYTES // max(1, info.width * info.height * 3)))
    images: list[NDArray[np.uint8]] = []
    frames = read_ahead(source.read(range(start, stop)), depth=4)
    try:
        for index, image in frames:
            images.append(image)
            if len(images) == size or index == stop - 1:
                first = index + 1 - len(images)
                indexes = np.arange(first, index + 1, dtype=np.int64)
                yield FrameBatch(np.stack(images), source.times(first, index + 1), indexes)
                images = []
    finally:
        frames.close()


def find_faces(
    source: Source,
    session: DetectorSession,
    scheme: str,
    choice: int | Literal["largest"],
    folder: Folder,
    observer: Observer,
) -> None:
    """Detects in every frame, follows one face, smooths its landmarks inside each shot and stores them.

    Files: landmarks float32 [T, N, 3] in pixels (NaN rows without a face), boxes float32 [T, 4], shots int32 [T], a
    description.
    """
    tracker, cuts, smoother, box_smoother = FaceTracker(choice), CutDetector(), TrackSmoother(), TrackSmoother(order=0)
    row_shape: tuple[int, ...] | None = None
    waiting = 0  # faceless frames before the first face: the row shape is not known yet
    found = 0
    with (
        folder.write(LANDMARKS) as landmarks_path,
        folder.write(SHOTS) as shots_path,
        folder.write(BOXES) as boxes_path,
        RowWriter(landmarks_path, np.float32) as landmarks_file,
        RowWriter(shots_path, np.int32) as shots_file,
        RowWriter(boxes_path, np.float32) as boxes_file,
    ):

        def store(tracked: list[TrackedFace]) -> None:
            nonlocal row_shape, waiting, found
            for row in tracked:
                shots_file.append(np.array([row.shot], np.int32))
                box = np.full(4, np.nan, np.float32) if row.face is None else np.asarray(row.face.box, np.float32)
                boxes_file.append(box_smoother.push(box[None], np.array([row.shot], np.int32)))
                if row.face is not None:
                    row_shape = row.face.landmarks.shape
                    found += 1
                if row_shape is None:
                    waiting += 1
                    continue
                if waiting:
                    nothing = np.full((1, *row_shape), np.nan, np.float32)
                    for _ in range(waiting):
                        landmarks_file.append(smoother.push(nothing, np.array([-1], np.int32)))
                    waiting = 0
                points = np.full(row_shape, np.nan, np.float32) if row.face is None else row.face.landmarks
                landmarks_file.append(smoother.push(points[None], np.array([row.shot], np.int32)))

        for batch in frame_batches(source, 0, source.info.frame_count):
            for index, faces, image in zip(batch.indexes, session.detect(batch), batch.images, strict=True):
                store(tracker.push(int(index), faces, cuts.is_cut(image)))
            observer.advanced("faces", int(batch.indexes[-1]) + 1)
        store(tracker.finish())
        landmarks_file.append(smoother.finish())
        boxes_file.append(box_smoother.finish())
    with folder.write(FACES) as path:
        path.write_text(json.dumps({"scheme": scheme, "landmarks_shape": row_shape or (0, 3), "faces": found}))


def reconstruct(
    analysis: StoredAnalysis,
    session: ReconstructorSession,
    reads_frames: bool,
    space: str,
    folder: Folder,
    observer: Observer,
) -> None:
    """Fits every frame and stores float32 [T, C]. Frames are decoded only for a stage that says it reads them."""
    source = analysis.source
    count = source.info.frame_count
    width = 0
    with folder.write(COEFFICIENTS) as path, RowWriter(path, np.float32) as file:
        for batch in frame_batches(source, 0, count) if reads_frames else _without_images(source, count):
            faces = analysis.faces(batch.images, batch.times, batch.indexes)
            rows = session.reconstruct(faces)
            width = rows.shape[1]
            file.append(rows)
            observer.advanced("coefficients", int(batch.indexes[-1]) + 1)
    with folder.write(FACES) as path:
        path.write_text(json.dumps({"space": space, "coefficients": width}))


def _without_images(source: Source, count: int) -> Iterator[FrameBatch]:
    for start in range(0, count, _ROWS):
        stop = min(start + _ROWS, count)
        empty = np.zeros((stop - start, 0, 0, 3), np.uint8)
        yield FrameBatch(empty, source.times(start, stop), np.arange(start, stop, dtype=np.int64))
