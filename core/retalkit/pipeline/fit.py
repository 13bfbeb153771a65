"""Coefficient fitting, which computes the reconstructor's coefficients for every frame and stores them in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from retalkit.observer import Observer
from retalkit.pipeline.analysis_store import COEFFICIENTS, FIT_DESCRIPTION, StoredAnalysis
from retalkit.pipeline.detection_batches import frame_batches
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.stages import FrameBatch, ReconstructorSession, Source
from retalkit.storage.cache import CacheEntry, Folder
from retalkit.storage.row_file import RowWriter

_ROWS: Final = 256


def is_complete(folder: CacheEntry) -> bool:
    """Return whether the coefficients in ``folder`` are complete. The description file is written last and marks
    completion."""
    return folder.has(FIT_DESCRIPTION, COEFFICIENTS)


def fit_face(
    analysis: StoredAnalysis,
    session: ReconstructorSession,
    reads_frames: bool,
    space: str,
    folder: Folder,
    observer: Observer,
    cancelled: Callable[[], bool],
) -> None:
    """Fit the face model to every frame and store the coefficients, float32 [T, C].

    Frames are decoded only if ``reads_frames`` is True. Raises RunCancelledError between batches if ``cancelled()``
    returns True.
    """
    source = analysis.source
    count = source.info.frame_count
    width = 0
    with folder.write(COEFFICIENTS) as path, RowWriter(path, np.float32) as file:
        for batch in frame_batches(source, 0, count) if reads_frames else _empty_batches(source, count):
            check_cancelled(cancelled)
            faces = analysis.faces(batch)
            rows = session.reconstruct(faces)
            width = rows.shape[1]
            file.append(rows)
            observer.advanced("coefficients", int(batch.indexes[-1]) + 1)
    with folder.write(FIT_DESCRIPTION) as path:
        path.write_text(json.dumps({"space": space, "coefficients": width}))


def _empty_batches(source: Source, count: int) -> Iterator[FrameBatch]:
    """Yield batches without pixel data. The images are uint8 [T, 0, 0, 3]."""
    for start in range(0, count, _ROWS):
        stop = min(start + _ROWS, count)
        empty = np.zeros((stop - start, 0, 0, 3), np.uint8)
        yield FrameBatch(empty, source.times(start, stop), np.arange(start, stop, dtype=np.int64))
