"""Tracklets of all faces in a clip, which are computed once and used by all persons of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.face_tracker import area
from retalkit.geometry.face_tracklets import NO_TRACKLET, TrackletBuilder
from retalkit.persons.grouping import Tracklet
from retalkit.pipeline.detect import StoredDetections
from retalkit.pipeline.detection_parts import FrameDetections
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.stages import Face
from retalkit.storage.cache import CacheEntry, Folder
from retalkit.storage.row_file import RowReader, RowWriter

VERSION: Final = 1
"""Version number in the cache key. The number must be increased when the result of tracking changes."""

NUMBERS: Final = "tracklets.i32"
DESCRIPTION: Final = "tracklets.json"


def is_complete(folder: CacheEntry) -> bool:
    """Return whether the tracklets in ``folder`` are complete. The description file is written last."""
    return folder.has(DESCRIPTION, NUMBERS)


def track_all_faces(detections: StoredDetections, folder: Folder, cancelled: Callable[[], bool]) -> None:
    """Assign every detection to a tracklet, and store the tracklet numbers, int32 [detections], and a description."""
    builder = TrackletBuilder()
    found: dict[int, dict[str, Any]] = {}
    scene = 0
    with folder.write(NUMBERS) as path, RowWriter(path, np.int32) as file:
        for frame in detections:
            check_cancelled(cancelled)
            scene += frame.is_cut
            numbers = builder.push(frame.faces, frame.is_cut)
            file.append(numbers)
            for number, face in zip(numbers.tolist(), frame.faces, strict=True):
                if number == NO_TRACKLET:
                    continue
                box = [float(value) for value in face.box]
                values = found.setdefault(
                    number,
                    {
                        "number": number,
                        "scene": scene,
                        "first": frame.index,
                        "frames": 0,
                        "area": 0.0,
                        "first_box": box,
                    },
                )
                values |= {"last": frame.index, "last_box": box, "frames": values["frames"] + 1}
                values["area"] += area(face.box)
    with folder.write(DESCRIPTION) as path:
        path.write_text(json.dumps(list(found.values())), encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceTable:
    """All faces of a clip that belong to a tracklet, in order of frames."""

    frames: NDArray[np.int64]
    """Frame indexes, int64 [F]."""
    tracklets: NDArray[np.int64]
    """Tracklet numbers, int64 [F]."""
    centres: NDArray[np.float64]
    """Horizontal centres of the boxes in pixels, float64 [F]."""
    areas: NDArray[np.float64]
    """Areas of the boxes in square pixels, float64 [F]."""


class StoredTracklets:
    """Cached tracklets of a clip."""

    def __init__(self, detections: StoredDetections, folder: Path) -> None:
        self.detections = detections
        data: list[dict[str, Any]] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        for each in data:
            each |= {"first_box": tuple(each["first_box"]), "last_box": tuple(each["last_box"])}
        self.tracklets = tuple(Tracklet(**each) for each in data)
        self._numbers = RowReader(folder / NUMBERS, np.int32, ())

    def __iter__(self) -> Iterator[tuple[FrameDetections, NDArray[np.int32]]]:
        """Yield the detections of every frame in order, with the tracklet number of each face, int32 [faces]."""
        numbers = self._numbers.read(0, self._numbers.count)
        first = 0
        for frame in self.detections:
            last = first + len(frame.faces)
            yield frame, numbers[first:last]
            first = last

    def table(self) -> FaceTable:
        """Return the position and size of every face of a tracklet."""
        columns: list[tuple[int, int, float, float]] = []
        for frame, numbers in self:
            for number, face in zip(numbers.tolist(), frame.faces, strict=True):
                if number != NO_TRACKLET:
                    columns.append((frame.index, number, float(face.box[[0, 2]].mean()), area(face.box)))
        values = np.array(columns, np.float64).reshape(-1, 4)
        return FaceTable(
            frames=values[:, 0].astype(np.int64),
            tracklets=values[:, 1].astype(np.int64),
            centres=values[:, 2],
            areas=values[:, 3],
        )

    def faces(self, tracklets: frozenset[int]) -> Iterator[tuple[FrameDetections, Face | None, int]]:
        """Yield every frame with the face that belongs to one of ``tracklets``, and its tracklet, or None and -1."""
        for frame, numbers in self:
            row = next((row for row, number in enumerate(numbers.tolist()) if number in tracklets), None)
            yield frame, None if row is None else frame.faces[row], -1 if row is None else int(numbers[row])
