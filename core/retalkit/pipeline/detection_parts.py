"""Detection of a clip in parts, which several processes can process at the same time.

The parts depend only on the clip, so that the result does not depend on the number of processes. Every part has its own
detector session. The session also receives the frames before its part, because a tracker depends on earlier frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from retalkit.media.decoded_frames import DecodedFrames
from retalkit.media.sources import VideoSource
from retalkit.pipeline.analysis_store import LimitedSource
from retalkit.pipeline.detection_batches import frame_batches
from retalkit.pipeline.face_checks import FaceChecker
from retalkit.pipeline.run_helpers import SharedWork
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.stages import DetectorSession, Face, Source

WARM_UP: Final = 8
"""Number of frames before a part that its session also processes. After these frames, the positions of the landmarks do
not depend on the frame at which the tracking started."""
_SHORTEST: Final = 96
_USUAL: Final = 128
_LONGEST: Final = 2000
"""Minimum, usual and maximum length of a part in frames. The detections of whole parts are kept in memory."""


@dataclass(frozen=True, slots=True)
class FrameDetections:
    """Detection results for one frame."""

    index: int
    """Frame index in the source video."""
    is_cut: bool
    """Whether a new shot starts at this frame."""
    faces: list[Face]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDetector:
    """Detector of the faces in parts of one clip."""

    source: Source
    open_session: Callable[[], DetectorSession]
    scheme: str
    cancelled: Callable[[], bool]

    def detect(self, start: int, stop: int) -> Iterator[list[FrameDetections]]:
        """Yield the detections of the frames [start, stop) in batches. Raises RunCancelledError between batches."""
        checker = FaceChecker(self.scheme)
        kept = self.source.kept_faces if isinstance(self.source, LimitedSource) else None
        with closing(self.open_session()) as session:
            for batch in frame_batches(self.source, max(start - WARM_UP, 0), stop):
                check_cancelled(self.cancelled)
                frames: list[FrameDetections] = []
                for row, faces in enumerate(session.detect(batch)):
                    index = int(batch.indexes[row])
                    checked = checker.check(batch, row, faces)
                    if index < start:
                        continue
                    if kept is not None and isinstance(batch, DecodedFrames):
                        kept.add(index, batch.decoded[row], [face.landmarks for face in faces])
                    is_cut = batch.shot_starts is not None and bool(batch.shot_starts[row])
                    frames.append(FrameDetections(index, is_cut, checked))
                yield frames


def detect_in_parts(
    detector: PartDetector,
    parts: Sequence[tuple[int, int]],
    shared: SharedWork | None,
    advanced: Callable[[int], None],
) -> Iterator[list[FrameDetections]]:
    """Yield the detections of all parts in order. ``advanced`` receives the number of processed frames, which does not
    decrease if the frames of a process that fails are processed again.

    ``shared``: other processes that detect parts at the same time, or None.
    """
    done = shown = 0
    own: dict[int, list[FrameDetections]] = {}

    def report(count: int) -> None:
        nonlocal shown
        shown = max(shown, count)
        advanced(shown)

    if shared is not None:

        def poll() -> None:
            check_cancelled(detector.cancelled)
            report(done + shared.done())

        for number in shared.claimed(range(len(parts))):
            own[number] = []
            for frames in detector.detect(*parts[number]):
                own[number] += frames
                done += len(frames)
                report(done + shared.done())
        shared.wait(poll)
    for number, part in enumerate(parts):
        frames = own.pop(number, None)
        if frames is None and shared is not None:
            frames = load_part(shared.folder, number)
            done += 0 if frames is None else len(frames)
        if frames is not None:
            yield frames
            continue
        for frames in detector.detect(*part):
            done += len(frames)
            yield frames
            report(done)


def save_part(folder: Path, number: int, frames: Sequence[FrameDetections]) -> None:
    """Store the detections of a part for the process of the run."""
    faces = [face for frame in frames for face in frame.faces]
    arrays = {
        "indexes": np.array([frame.index for frame in frames], np.int64),
        "cuts": np.array([frame.is_cut for frame in frames], np.bool_),
        "counts": np.array([len(frame.faces) for frame in frames], np.int64),
        "boxes": np.array([face.box for face in faces]),
        "landmarks": np.array([face.landmarks for face in faces]),
        "scores": np.array([face.score for face in faces], np.float64),
        "reasons": np.array([face.reason for face in faces], np.str_),
    }
    path = folder / _part_name(number)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    partial.replace(path)


def load_part(folder: Path, number: int) -> list[FrameDetections] | None:
    """Return the detections of a part that another process has stored, or None if that process has failed."""
    path = folder / _part_name(number)
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        faces = [
            Face(box=box, landmarks=landmarks, score=float(score), reason=str(reason))
            for box, landmarks, score, reason in zip(
                stored["boxes"], stored["landmarks"], stored["scores"], stored["reasons"], strict=True
            )
        ]
        ends = np.cumsum(stored["counts"]).tolist()
        return [
            FrameDetections(int(index), bool(cut), faces[end - int(count) : end])
            for index, cut, count, end in zip(stored["indexes"], stored["cuts"], stored["counts"], ends, strict=True)
        ]


def _part_name(number: int) -> str:
    return f"part-{number}.npz"


def parts_of(source: Source, count: int) -> list[tuple[int, int]]:
    """Return the parts into which the first ``count`` frames of a source are divided.

    The frames of a short video, which is kept in memory, are divided evenly. Other videos are divided at keyframes,
    from which decoding can start. A video without a suitable division and a photo are one part.
    """
    video = source.complete if isinstance(source, LimitedSource) else source
    if not isinstance(video, VideoSource):
        return [(0, count)]
    if video.is_short:
        pairs = max(1, count // (4 * _USUAL))
        number = 2 * pairs if count >= 2 * _SHORTEST else 1
        bounds = [round(each) for each in np.linspace(0, count, number + 1)]
    else:
        bounds = [0]
        for keyframe in video.index.keyframes.tolist():
            start = keyframe + WARM_UP
            if start - bounds[-1] >= _USUAL and count - start >= _SHORTEST:
                bounds.append(start)
        bounds.append(count)
    parts = list(zip(bounds, bounds[1:], strict=False))
    return parts if all(stop - start <= _LONGEST for start, stop in parts) else [(0, count)]
