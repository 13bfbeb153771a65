"""Stored analysis of one face: landmarks, bounding boxes, tracks and coefficients."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retalkit.media.decoded_frames import read_frames
from retalkit.media.kept_faces import KeptFaces
from retalkit.media.sources import VideoSource
from retalkit.stages import FaceBatch, FrameBatch, Source, SourceInfo, Timeline
from retalkit.storage.row_file import RowReader

LANDMARKS = "landmarks.f32"
TRACKS = "tracks.i32"
BOXES = "boxes.f32"
TRACK_DESCRIPTION = "track.json"
FIT_DESCRIPTION = "fit.json"
COEFFICIENTS = "coefficients.f32"


_ROWS = 65536


class LimitedSource:
    """Source limited to the first ``count`` frames. A run analyses only the required part of a long video."""

    def __init__(self, source: Source, count: int) -> None:
        self._source = source
        end = float(source.times(count - 1, count)[0]) if count < source.info.frame_count else source.info.duration
        self._info = replace(source.info, frame_count=count, duration=end)
        self.kept_faces = KeptFaces(source) if isinstance(source, VideoSource) else None
        """Faces that the detection of a video keeps for later passes over the video."""

    @property
    def complete(self) -> Source:
        """Source without the limit."""
        return self._source

    @property
    def info(self) -> SourceInfo:
        return self._info

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        return self._source.times(start, min(stop, self._info.frame_count))

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        return self._source.read(indexes)

    def read_frames(self, indexes: Iterable[int]) -> Iterator[FrameBatch]:
        """Yield a batch of one frame for each index, see ``retalkit.media.decoded_frames.read_frames``."""
        wanted = list(indexes)
        kept = None if self.kept_faces is None else self.kept_faces.read(wanted)
        return read_frames(self._source, wanted) if kept is None else kept

    def release_faces(self) -> None:
        """Release the kept faces. Frames that are read later are decoded again."""
        if self.kept_faces is not None:
            self.kept_faces.clear()


def analysed_part(source: Source, timeline: Timeline, seconds: float) -> LimitedSource:
    """Return the part of the source that the output uses, with a minimum duration of ``seconds`` so that enough mouth
    shapes are available."""
    count = source.info.frame_count
    starts = range(0, timeline.count, _ROWS)
    shown = max(int(timeline.sources(start, min(start + _ROWS, timeline.count)).max()) + 1 for start in starts)
    times = source.times(0, count)
    enough = int(np.searchsorted(times, times[0] + seconds, side="right"))
    return LimitedSource(source, min(count, max(shown, enough)))


class StoredAnalysis:
    """Implementation of ``retalkit.stages.Analysis`` that reads the analysis files in the cache."""

    def __init__(self, source: Source, track: Path, reconstruction: Path | None = None, space: str = "") -> None:
        meta: dict[str, Any] = json.loads((track / TRACK_DESCRIPTION).read_text(encoding="utf-8"))
        self._source = source
        self._scheme = str(meta["scheme"])
        self._landmarks = RowReader(track / LANDMARKS, np.float32, tuple(meta["landmarks_shape"]))
        self._tracks = RowReader(track / TRACKS, np.int32, ())
        self._known_tracks: NDArray[np.int32] | None = None
        self._boxes = RowReader(track / BOXES, np.float32, (4,))
        self._space = space
        self._coefficients: RowReader | None = None
        if reconstruction is not None:
            width = int(json.loads((reconstruction / FIT_DESCRIPTION).read_text(encoding="utf-8"))["coefficients"])
            # Rows without values occupy no bytes in the file.
            self._coefficients = RowReader(reconstruction / COEFFICIENTS, np.float32, (width,)) if width else None

    @property
    def source(self) -> Source:
        return self._source

    @property
    def landmark_scheme(self) -> str:
        return self._scheme

    @property
    def coefficient_space(self) -> str:
        return self._space

    def landmarks(self, start: int, stop: int) -> NDArray[np.float32]:
        return self._landmarks.read(start, stop)

    def coefficients(self, start: int, stop: int) -> NDArray[np.float32]:
        if self._coefficients is None:
            return np.zeros((stop - start, 0), np.float32)
        return self._coefficients.read(start, stop)

    def boxes(self, start: int, stop: int) -> NDArray[np.float32]:
        return self._boxes.read(start, stop)

    def tracks(self, start: int, stop: int) -> NDArray[np.int32]:
        # A run reads the numbers frame by frame, and even those of a long video are small.
        if self._known_tracks is None:
            self._known_tracks = self._tracks.read(0, self._tracks.count)
        if not 0 <= start <= stop <= len(self._known_tracks):
            raise IndexError(f"frames {start} to {stop} requested, but {len(self._known_tracks)} frames are analysed")
        return self._known_tracks[start:stop].copy()

    def faces(self, frames: FrameBatch) -> FaceBatch:
        """Return decoded frames together with their stored analysis. Their indexes may be in any order."""
        indexes = frames.indexes
        if not len(indexes):
            empty = self._landmarks.read(0, 0)
            return FaceBatch(frames, empty, self.coefficients(0, 0), self.boxes(0, 0))
        first, last = int(indexes.min()), int(indexes.max()) + 1
        rows = indexes - first
        landmarks, coefficients = self.landmarks(first, last)[rows], self.coefficients(first, last)[rows]
        return FaceBatch(frames, landmarks, coefficients, self.boxes(first, last)[rows])
