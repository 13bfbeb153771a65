"""Pass 2: decodes again, edits and encodes, one segment after the other.

A finished segment lies in the cache, so that a killed run goes on where it stopped. Segments are cut by position in
the output, never by what happened, and every stage session gives the same result for any batch: a resumed run's
output is identical to an undisturbed one's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from retalkit.analysis import StoredAnalysis
from retalkit.cache import Folder
from retalkit.compositing import composite
from retalkit.media.editing import apply_edits, to_rgb
from retalkit.media.encoding import SegmentWriter
from retalkit.media.frames import MediaSource
from retalkit.media.timeline import OutputTimeline
from retalkit.observing import Observer
from retalkit.stages import (
    EnhancerSession,
    ExpressionEditorSession,
    FrameResult,
    LipSyncerSession,
    PassedThrough,
    SyncBatch,
)
from retalkit.threads import read_ahead

SEGMENT_FRAMES = 240
_BATCH_BYTES = 24 << 20
_SURE = 0.999


class OpenWriter(Protocol):
    """Makes the writer of one segment."""

    def __call__(self, path: Path) -> SegmentWriter: ...


@dataclass(slots=True)
class FrameCounts:
    """How many frames were edited, how many faded, how many came through, and why."""

    edited: int = 0
    faded: Counter[str] = field(default_factory=Counter[str])
    passed: Counter[str] = field(default_factory=Counter[str])

    def add(self, result: FrameResult) -> None:
        """Counts one frame."""
        if isinstance(result, PassedThrough):
            self.passed[result.reason] += 1
            return
        self.edited += 1
        if result.confidence < _SURE and result.reason:
            self.faded[result.reason] += 1

    def merge(self, data: dict[str, Any]) -> None:
        """Adds the counts of a finished segment."""
        self.edited += int(data["edited"])
        self.faded.update(data["faded"])
        self.passed.update(data["passed"])

    def as_dict(self) -> dict[str, Any]:
        return {"edited": self.edited, "faded": dict(self.faded), "passed": dict(self.passed)}


@dataclass(frozen=True, slots=True)
class FaceStages:
    """The opened sessions that make new pixels."""

    editor: ExpressionEditorSession
    lip_syncer: LipSyncerSession
    enhancers: Sequence[EnhancerSession]

    def run(self, analysis: StoredAnalysis, timeline: OutputTimeline, batch: _Batch) -> list[FrameResult]:
        """Results for output positions in a row that all have a face."""
        faces = analysis.faces(batch.images, batch.source_times, batch.sources)
        first = int(batch.positions[0])
        job = SyncBatch(
            positions=batch.positions,
            times=timeline.times(first, first + len(batch.positions)),
            faces=faces,
            references=self.editor.edit(faces),
        )
        results = self.lip_syncer.sync(job)
        for enhancer in self.enhancers:
            results = enhancer.enhance(job, results)
        return list(results)


@dataclass(frozen=True, slots=True)
class _Batch:
    positions: NDArray[np.int64]
    sources: NDArray[np.int64]
    source_times: NDArray[np.float64]
    images: NDArray[np.uint8]
    decoded: list[av.VideoFrame]


def segment_ranges(count: int) -> list[tuple[int, int]]:
    """[start, stop) of each segment of an output of ``count`` frames."""
    return [(start, min(start + SEGMENT_FRAMES, count)) for start in range(0, count, SEGMENT_FRAMES)]


def segment_name(number: int) -> str:
    """File name of a finished segment."""
    return f"segment-{number:06d}.mp4"


def counts_name(number: int) -> str:
    """File name of the counts that belong to a segment. Written after it: both there means finished."""
    return f"segment-{number:06d}.json"


def render(
    source: MediaSource,
    analysis: StoredAnalysis,
    timeline: OutputTimeline,
    stages: FaceStages,
    open_writer: OpenWriter,
    folder: Folder,
    observer: Observer,
) -> tuple[list[Path], FrameCounts, bool]:
    """Renders the segments that are missing; returns all segment files in order, the counts of the whole output, and
    whether there was nothing left to render."""
    counts = FrameCounts()
    segments = segment_ranges(timeline.count)
    missing: list[int] = []
    done = 0
    for number, (start, stop) in enumerate(segments):
        record = folder.path(counts_name(number))
        if record is not None and folder.path(segment_name(number)) is not None:
            counts.merge(json.loads(record.read_text(encoding="utf-8")))
            done += stop - start
        else:
            missing.append(number)

    # One reader runs through everything that is missing, so that no segment has to seek to its start.
    wanted = (int(index) for number in missing for index in timeline.sources(*segments[number]))
    frames = read_ahead(source.read_video_frames(wanted), depth=8)
    try:
        for number in missing:
            start, stop = segments[number]
            here = FrameCounts()
            with folder.write(segment_name(number)) as path:
                writer = open_writer(path)
                try:
                    for batch, has_face in _batches(frames, analysis, timeline, start, stop):
                        results: list[FrameResult] = (
                            stages.run(analysis, timeline, batch)
                            if has_face
                            else [PassedThrough("no face")] * len(batch.positions)
                        )
                        _write(writer, timeline, batch, results, has_face)
                        for result in results:
                            here.add(result)
                        done += len(results)
                        observer.advanced("render", done)
                except BaseException:
                    writer.abort()
                    raise
                writer.close()
            with folder.write(counts_name(number)) as path:
                path.write_text(json.dumps(here.as_dict()), encoding="utf-8")
            counts.merge(here.as_dict())
    finally:
        frames.close()
    files = [folder.folder / segment_name(number) for number in range(len(segments))]
    return files, counts, not missing


def _write(
    writer: SegmentWriter, timeline: OutputTimeline, batch: _Batch, results: Sequence[FrameResult], has_face: bool
) -> None:
    first = int(batch.positions[0])
    times = timeline.times(first, first + len(results))
    durations = timeline.durations(first, first + len(results))
    for row, (frame, result) in enumerate(zip(batch.decoded, results, strict=True)):
        if has_face and not isinstance(result, PassedThrough):
            # The batch's images are ours: stages are done with them.
            image = batch.images[row]
            left, top, width, height = composite(image, result)
            if width and height:
                frame = apply_edits(frame, image[top : top + height, left : left + width], left, top)
        writer.write_frame(frame, float(times[row]), float(durations[row]))


def _batches(
    frames: Iterator[tuple[int, av.VideoFrame]],
    analysis: StoredAnalysis,
    timeline: OutputTimeline,
    start: int,
    stop: int,
) -> Iterator[tuple[_Batch, bool]]:
    """Cuts a segment into runs of frames that all have a face, or all have none, bounded in bytes."""
    info = analysis.source.info
    size = max(1, min(16, _BATCH_BYTES // max(1, info.width * info.height * 3)))
    sources = timeline.sources(start, stop)
    position = start
    pending: tuple[av.VideoFrame, bool] | None = None

    def take() -> tuple[av.VideoFrame, bool]:
        index, frame = next(frames)
        shot = int(analysis.shots(index, index + 1)[0])
        return frame, shot >= 0

    while position < stop:
        frame, has_face = pending if pending is not None else take()
        pending = None
        decoded = [frame]
        while len(decoded) < size and position + len(decoded) < stop:
            frame, next_has_face = take()
            if next_has_face != has_face:
                pending = (frame, next_has_face)
                break
            decoded.append(frame)
        rows = sources[position - start : position - start + len(decoded)]
        first, last = int(rows.min()), int(rows.max()) + 1
        images = (
            np.stack([to_rgb(frame) for frame in decoded])
            if has_face
            else np.zeros((0, info.height, info.width, 3), np.uint8)
        )
        yield (
            _Batch(
                positions=np.arange(position, position + len(decoded), dtype=np.int64),
                sources=rows,
                source_times=analysis.source.times(first, last)[rows - first],
                images=images,
                decoded=decoded,
            ),
            has_face,
        )
        position += len(decoded)
