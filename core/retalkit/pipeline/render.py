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
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from retalkit.imaging.compositing import composite
from retalkit.media.encoding import SegmentWriter
from retalkit.media.frame_editing import apply_edits, to_rgb
from retalkit.media.prefetch import read_ahead
from retalkit.media.sources import MediaSource
from retalkit.media.timeline import OutputTimeline
from retalkit.observer import Observer
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.pipeline.stage_errors import blamed, checked
from retalkit.pipeline.timing import Stopwatch
from retalkit.stages import (
    EnhancerSession,
    ExpressionEditorSession,
    FrameResult,
    LipSyncerSession,
    PassedThrough,
    SyncBatch,
)
from retalkit.storage.cache import Folder

SEGMENT_FRAMES = 240
RENDERED = "rendered"
"""In the units of ``FaceStages.watch``: frames of the output that were not in the cache."""
_BATCH_BYTES = 16 << 20
_SURE = 0.999
_OUTSIDE = "edit outside the frame"


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
    labels: Sequence[str] = ()
    """What messages call them: editor, lip syncer, enhancers."""
    watch: Stopwatch = field(default_factory=Stopwatch)
    """Seconds of each, by ``editor``, ``lip_syncer`` and the number of an enhancer; units are frames."""

    def sync(self, analysis: StoredAnalysis, timeline: OutputTimeline, batch: _Batch) -> _Synced:
        """Lip-synced faces for output positions in a row that all have a face."""
        faces = analysis.faces(batch.images, batch.source_times, batch.sources)
        first = int(batch.positions[0])
        count = len(batch.positions)
        with self.watch.timing("editor", count), blamed(self._label(0, "the expression editor"), self.editor):
            references = self.editor.edit(faces)
        times = timeline.times(first, first + len(batch.positions))
        job = SyncBatch(positions=batch.positions, times=times, faces=faces, references=references)
        label = self._label(1, "the lip syncer")
        with self.watch.timing("lip_syncer", count), blamed(label, self.lip_syncer, references):
            return _Synced(job, checked(self.lip_syncer.sync(job), count, label))

    def enhance(self, part: _Edited) -> list[FrameResult]:
        """Results for every position of the part, after all enhancers."""
        if part.synced is None:
            return [PassedThrough("no face")] * len(part.batch.positions)
        results = part.synced.results
        for number, enhancer in enumerate(self.enhancers):
            count, label = len(results), self._label(2 + number, "an enhancer")
            job = part.synced.job
            with self.watch.timing(str(number), count), blamed(label, enhancer, job.references):
                results = checked(enhancer.enhance(job, results), count, label)
        return results

    def _label(self, position: int, otherwise: str) -> str:
        return self.labels[position] if position < len(self.labels) else otherwise


@dataclass(frozen=True, slots=True)
class _Synced:
    job: SyncBatch
    results: list[FrameResult]


@dataclass(frozen=True, slots=True)
class _Edited:
    segment: int
    batch: _Batch
    synced: _Synced | None
    """None: no frame of the batch has a face."""


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
    stages.watch.units[RENDERED] = timeline.count - done

    def edited() -> Iterator[_Edited]:
        for number, batch, has_face in _batches(source, analysis, timeline, [(n, *segments[n]) for n in missing]):
            yield _Edited(number, batch, stages.sync(analysis, timeline, batch) if has_face else None)

    # Three threads besides the encoder's: decoding, lips, and everything after; each session stays in one of them.
    work = read_ahead(edited(), depth=2)
    try:
        for number, parts in groupby(work, key=lambda part: part.segment):
            here = FrameCounts()
            with folder.write(segment_name(number)) as path:
                writer = open_writer(path)
                try:
                    for part in parts:
                        results = _write(writer, timeline, part.batch, stages.enhance(part))
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
        work.close()
    files = [folder.folder / segment_name(number) for number in range(len(segments))]
    return files, counts, not missing


def _write(
    writer: SegmentWriter, timeline: OutputTimeline, batch: _Batch, results: Sequence[FrameResult]
) -> list[FrameResult]:
    """Writes the frames; returns the results as they count: an edit that lies beside its frame has passed through."""
    counted = list(results)
    first = int(batch.positions[0])
    times = timeline.times(first, first + len(results))
    durations = timeline.durations(first, first + len(results))
    for row, (frame, result) in enumerate(zip(batch.decoded, results, strict=True)):
        if not isinstance(result, PassedThrough):
            # The batch's images are ours: stages are done with them.
            image = batch.images[row]
            left, top, width, height = composite(image, result)
            if width and height:
                frame = apply_edits(frame, image[top : top + height, left : left + width], left, top)
            elif (result.mask > 0).any():
                counted[row] = PassedThrough(_OUTSIDE)
        writer.write_frame(frame, float(times[row]), float(durations[row]))
    return counted


def _batches(
    source: MediaSource,
    analysis: StoredAnalysis,
    timeline: OutputTimeline,
    segments: Sequence[tuple[int, int, int]],
) -> Iterator[tuple[int, _Batch, bool]]:
    """Cuts segments (number, start, stop) into runs of frames that all have a face, or all have none, bounded in bytes.

    One reader runs through all of them, so that no segment has to seek to its start.
    """
    wanted = (int(index) for _, start, stop in segments for index in timeline.sources(start, stop))
    info = analysis.source.info
    size = max(1, min(16, _BATCH_BYTES // max(1, info.width * info.height * 3)))
    frames = read_ahead(_decoded(source, analysis, wanted), depth=size)
    try:
        for number, start, stop in segments:
            position = start
            pending: _Decoded | None = None
            while position < stop:
                run = [pending if pending is not None else next(frames)]
                pending = None
                while len(run) < size and position + len(run) < stop:
                    following = next(frames)
                    if (following.image is None) != (run[0].image is None):
                        pending = following
                        break
                    run.append(following)
                yield number, _joined(run, position, analysis), run[0].image is not None
                position += len(run)
    finally:
        frames.close()


@dataclass(frozen=True, slots=True)
class _Decoded:
    index: int
    frame: av.VideoFrame
    image: NDArray[np.uint8] | None
    """RGB, only where there is a face to edit."""


def _decoded(source: MediaSource, analysis: StoredAnalysis, wanted: Iterator[int]) -> Iterator[_Decoded]:
    for index, frame in source.read_video_frames(wanted):
        has_face = int(analysis.shots(index, index + 1)[0]) >= 0
        yield _Decoded(index, frame, to_rgb(frame) if has_face else None)


def _joined(run: Sequence[_Decoded], position: int, analysis: StoredAnalysis) -> _Batch:
    info = analysis.source.info
    sources = np.array([decoded.index for decoded in run], np.int64)
    first, last = int(sources.min()), int(sources.max()) + 1
    images = [decoded.image for decoded in run if decoded.image is not None]
    return _Batch(
        positions=np.arange(position, position + len(run), dtype=np.int64),
        sources=sources,
        source_times=analysis.source.times(first, last)[sources - first],
        images=np.stack(images) if images else np.zeros((0, info.height, info.width, 3), np.uint8),
        decoded=[decoded.frame for decoded in run],
    )
