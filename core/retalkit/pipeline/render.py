"""Rendering step, which decodes the source again, edits the frames, and encodes the output segment by segment.

Completed segments are kept in the cache so that an interrupted run can resume after the last completed segment. Segment
boundaries depend only on the output position, and session results do not depend on batch boundaries. The output of a
resumed run is therefore identical to the output of an uninterrupted run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, tee
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from retalkit.imaging.compositing import blend, composite, placed_edit
from retalkit.media.encoding import SegmentWriter
from retalkit.media.frame_editing import apply_edits, blend_edit, edit_region, to_rgb
from retalkit.media.pixel_format import FORMATS, YUV420P, PixelFormat
from retalkit.media.prefetch import read_ahead
from retalkit.media.sources import MediaSource
from retalkit.media.timeline import OutputTimeline
from retalkit.media.yuv_frames import frame_from_rgb16
from retalkit.observer import Observer
from retalkit.photo_motion.animator import PhotoAnimator
from retalkit.pipeline.decoded_frames import DecodedFrames
from retalkit.pipeline.face_job import NO_FACE, OUTSIDE_CUES, FaceJob, SyncedFrames
from retalkit.pipeline.layer import LayerSegment, layer_name, layer_segment
from retalkit.pipeline.preview import OutputWindow, whole_output
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.stages import FaceEdit, FrameResult, PassedThrough
from retalkit.storage.cache import Folder

SEGMENT_FRAMES = 240
_BATCH_BYTES = 16 << 20
_SURE = 0.999
_UNINFORMATIVE = (OUTSIDE_CUES, NO_FACE)
"""Reasons of unchanged frames that are recorded only if no other face has another reason. The first has the lowest
priority."""
_OUTSIDE = "edit outside the frame"


class OpenWriter(Protocol):
    """Callable that opens the writer of one segment."""

    def __call__(self, path: Path) -> SegmentWriter: ...


@dataclass(frozen=True, slots=True)
class FrameRun:
    """Consecutive output frames in which a face was edited, or in which it was unchanged for one reason."""

    start: int
    stop: int
    reason: str
    """Reason why the face is unchanged, or an empty string for edited frames."""


@dataclass(slots=True)
class FrameCounts:
    """Counts of edited, faded and unchanged frames, grouped by reason, and the outcome of each face."""

    edited: int = 0
    faded: Counter[str] = field(default_factory=Counter[str])
    passed: Counter[str] = field(default_factory=Counter[str])
    runs: list[list[FrameRun]] = field(default_factory=list[list[FrameRun]])
    """Frames of each face job, as consecutive runs with one outcome."""

    def add(self, position: int, results: Sequence[FrameResult]) -> None:
        """Count the output frame at ``position`` based on the results for all faces. A frame counts as edited if at
        least one face was edited."""
        self.runs = self.runs or [[] for _ in results]
        for runs, result in zip(self.runs, results, strict=True):
            reason = result.reason if isinstance(result, PassedThrough) else ""
            _append(runs, FrameRun(position, position + 1, reason))
        edits = [result for result in results if not isinstance(result, PassedThrough)]
        if not edits:
            reasons = [result.reason for result in results if isinstance(result, PassedThrough)]
            self.passed[max(reasons, key=_priority)] += 1
            return
        self.edited += 1
        weakest = min(edits, key=lambda edit: edit.confidence)
        if weakest.confidence < _SURE and weakest.reason:
            self.faded[weakest.reason] += 1

    def merge(self, data: dict[str, Any]) -> None:
        """Add the counts of a completed segment."""
        self.edited += int(data["edited"])
        self.faded.update(data["faded"])
        self.passed.update(data["passed"])
        self.runs = self.runs or [[] for _ in data["runs"]]
        for runs, added in zip(self.runs, data["runs"], strict=True):
            for start, stop, reason in added:
                _append(runs, FrameRun(int(start), int(stop), str(reason)))

    def as_dict(self) -> dict[str, Any]:
        runs = [[[run.start, run.stop, run.reason] for run in of_job] for of_job in self.runs]
        return {"edited": self.edited, "faded": dict(self.faded), "passed": dict(self.passed), "runs": runs}


def _append(runs: list[FrameRun], added: FrameRun) -> None:
    if runs and runs[-1].stop == added.start and runs[-1].reason == added.reason:
        added = FrameRun(runs.pop().start, added.stop, added.reason)
    runs.append(added)


def _priority(reason: str) -> int:
    return _UNINFORMATIVE.index(reason) if reason in _UNINFORMATIVE else len(_UNINFORMATIVE)


@dataclass(frozen=True, slots=True)
class Rendering:
    """Result of ``render``."""

    segments: list[Path]
    """Paths of all segment files in order."""
    counts: FrameCounts
    """Frame counts of the whole output."""
    layers: list[Path]
    """Paths of all layer segments in order, which exist only if the layer was requested."""
    rendered: int
    """Number of output frames rendered by this call, excluding frames in cached segments."""


def segment_ranges(start: int, stop: int) -> list[tuple[int, int]]:
    """Return the range of each segment that contains the output frames [start, stop)."""
    return [(first, min(first + SEGMENT_FRAMES, stop)) for first in range(start, stop, SEGMENT_FRAMES)]


def segment_name(number: int) -> str:
    """Return the file name of a completed segment."""
    return f"segment-{number:06d}.mp4"


def counts_name(number: int) -> str:
    """Return the file name of a segment's frame counts. A segment is complete if this file exists, because the file is
    written last."""
    return f"segment-{number:06d}.json"


def render(
    source: MediaSource,
    jobs: Sequence[FaceJob],
    timeline: OutputTimeline,
    open_writer: OpenWriter,
    folder: Folder,
    observer: Observer,
    cancelled: Callable[[], bool],
    pixel_format: PixelFormat = YUV420P,
    animators: Sequence[PhotoAnimator] = (),
    open_layer: OpenWriter | None = None,
    window: OutputWindow | None = None,
) -> Rendering:
    """Render the segments that are missing from ``folder``. Frames are edited and encoded in ``pixel_format``.
    ``animators`` move the heads in a still image. ``open_layer`` opens the writer of a segment that contains only the
    edits. ``window``: part of the output to render. By default, all frames are rendered.

    Raises RunCancelledError between batches if ``cancelled()`` returns True. Completed segments are kept.
    """
    window = window if window is not None else whole_output(timeline, source.size)
    segments = segment_ranges(window.start, window.stop)
    stored: dict[int, dict[str, Any]] = {}
    missing: list[int] = []
    done = 0
    for number, (start, stop) in enumerate(segments):
        record = folder.path(counts_name(number))
        data = {} if record is None else json.loads(record.read_text(encoding="utf-8"))
        # Earlier versions stored no runs.
        layered = open_layer is None or folder.path(layer_name(number)) is not None
        if "runs" in data and layered and folder.path(segment_name(number)) is not None:
            stored[number] = data
            done += stop - start
        else:
            missing.append(number)
    rendered = window.count - done

    ranges = [(number, *segments[number]) for number in missing]

    def synced_batches() -> Iterator[_SyncedBatch]:
        for number, batch in _batches(source, jobs, timeline, ranges, pixel_format):
            check_cancelled(cancelled)
            yield _SyncedBatch(number, batch, _sync(jobs, batch))

    # Three threads run in addition to the encoder threads: decoding, lip sync, and the remaining work. Each session is
    # used by only one of these threads.
    work = read_ahead(synced_batches(), depth=2)
    try:
        for number, parts in groupby(work, key=lambda part: part.segment):
            segment = FrameCounts()
            layer_file = layer_segment(folder, number, source.size, open_layer)
            with folder.write(segment_name(number)) as path, layer_file as layer:
                writer = open_writer(path)
                try:
                    for part in parts:
                        written = _write(writer, window, part.batch, _enhance(jobs, part), animators, layer)
                        for position, results in enumerate(written, part.batch.first):
                            segment.add(position, results)
                        done += part.batch.count
                        observer.advanced("render", done)
                except BaseException:
                    writer.abort()
                    raise
                writer.close()
            with folder.write(counts_name(number)) as path:
                path.write_text(json.dumps(segment.as_dict()), encoding="utf-8")
            stored[number] = segment.as_dict()
    finally:
        work.close()
    counts = FrameCounts()
    for number in range(len(segments)):
        counts.merge(stored[number])
    paths = [[folder.folder / name(number) for number in range(len(segments))] for name in (segment_name, layer_name)]
    return Rendering(paths[0], counts, paths[1], rendered)


def edited_times(counts: FrameCounts, window: OutputWindow, persons: Sequence[str]) -> list[dict[str, Any]]:
    """Return the edited time ranges of each person in seconds, as plain data for the run record.

    ``persons``: name of each face job's person.
    """
    return [
        {"person": person, "ranges": [_times(run, window) for run in runs if not run.reason]}
        for person, runs in zip(persons, counts.runs, strict=True)
    ]


def unedited_times(counts: FrameCounts, window: OutputWindow, persons: Sequence[str]) -> list[dict[str, Any]]:
    """Return the time ranges inside the cues in which a person was not edited, grouped by person and reason."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    for person, runs in zip(persons, counts.runs, strict=True):
        for run in runs:
            if run.reason not in ("", OUTSIDE_CUES):
                found.setdefault((person, run.reason), []).append(_times(run, window))
    return [{"person": person, "reason": reason, "ranges": ranges} for (person, reason), ranges in found.items()]


def _times(run: FrameRun, window: OutputWindow) -> list[float]:
    """Return the start and end of a run in seconds."""
    last = run.stop - 1
    end = window.times(last, run.stop)[0] + window.timeline.durations(last, run.stop)[0]
    return [round(float(window.times(run.start, run.start + 1)[0]), 6), round(float(end), 6)]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Consecutive output frames in which the same set of faces is edited."""

    first: int
    """Output position of the batch's first frame."""
    frames: DecodedFrames
    reasons: tuple[str, ...]
    """Reason why each job's face is not edited in the frames, or an empty string for an edited face."""

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.frames.decoded)


@dataclass(frozen=True, slots=True)
class _SyncedBatch:
    segment: int
    batch: _Batch
    synced: list[SyncedFrames | None]
    """Batch with each job's lip-synced frames, or None for a job whose face is not edited in the batch."""


def _sync(jobs: Sequence[FaceJob], batch: _Batch) -> list[SyncedFrames | None]:
    return [
        None if reason else job.sync(batch.frames, batch.first) for job, reason in zip(jobs, batch.reasons, strict=True)
    ]


def _enhance(jobs: Sequence[FaceJob], part: _SyncedBatch) -> list[list[FrameResult]]:
    """Return the results of every job for each frame."""
    count = part.batch.count
    by_job: list[list[FrameResult]] = [
        [PassedThrough(reason)] * count if synced is None else job.enhance(synced)
        for job, synced, reason in zip(jobs, part.synced, part.batch.reasons, strict=True)
    ]
    return [list(results) for results in zip(*by_job, strict=True)]


def _write(
    writer: SegmentWriter,
    window: OutputWindow,
    batch: _Batch,
    results: Sequence[list[FrameResult]],
    animators: Sequence[PhotoAnimator],
    layer: LayerSegment | None,
) -> list[list[FrameResult]]:
    """Composite the edits into every frame, encode the frames, and return the results for the frame counts.

    An edit outside the frame is returned as ``PassedThrough``.
    """
    counted: list[list[FrameResult]] = []
    stop = batch.first + batch.count
    times, durations = window.times(batch.first, stop), window.timeline.durations(batch.first, stop)
    for row, (frame, frame_results) in enumerate(zip(batch.frames.decoded, results, strict=True)):
        image = to_rgb(frame) if animators else None
        final: list[FrameResult] = []
        for result in frame_results:
            if not isinstance(result, PassedThrough):
                edited = edit_frame(frame, result)
                if edited is not None:
                    frame = edited
                elif (result.mask > 0).any():
                    result = PassedThrough(_OUTSIDE)
                if image is not None and not isinstance(result, PassedThrough):
                    composite(image, result)
            final.append(result)
        if image is not None:
            frame = animated_frame(frame, image, animators, batch.first + row)
        writer.write_frame(window.scaled(frame), float(times[row]), float(durations[row]))
        if layer is not None:
            layer.write(final, animators, image, float(times[row]), float(durations[row]))
        counted.append(final)
    return counted


def animated_frame(
    frame: av.VideoFrame, image: NDArray[np.uint8], animators: Sequence[PhotoAnimator], position: int
) -> av.VideoFrame:
    """Return the frame of a photo with moved heads. ``image``: RGB image of the frame with all edits."""
    deep = frame.format.name != YUV420P.name
    for animator in animators:
        animator.animate(image, position)
        left, top, width, height = animator.rectangle
        if width and height and not deep:
            patch = image[top : top + height, left : left + width]
            frame = apply_edits(frame, patch, left, top, animator.changed)
    if deep:
        frame = frame_from_rgb16(image.astype(np.uint16) * np.uint16(257), FORMATS[frame.format.name])
    return frame


def edit_frame(frame: av.VideoFrame, edit: FaceEdit) -> av.VideoFrame | None:
    """Return the edited frame, or None if the edit changes no pixel."""
    placed = placed_edit(frame.width, frame.height, edit)
    if placed is None:
        return None
    if frame.format.name != YUV420P.name:
        return blend_edit(frame, *placed)
    image, mask, left, top = placed
    return edit_region(frame, (left, top, mask.shape[1], mask.shape[0]), lambda under: blend(under, image, mask))


def _batches(
    source: MediaSource,
    jobs: Sequence[FaceJob],
    timeline: OutputTimeline,
    segments: Sequence[tuple[int, int, int]],
    pixel_format: PixelFormat,
) -> Iterator[tuple[int, _Batch]]:
    """Divide segments (number, start, stop) into batches of limited byte size.

    The same set of faces is edited in all frames of a batch. One reader decodes all segments in sequence so that no
    seek is required at segment boundaries.
    """
    shown = (
        (position, int(index))
        for _, start, stop in segments
        for position, index in enumerate(timeline.sources(start, stop), start=start)
    )
    size = max(1, min(16, _BATCH_BYTES // max(1, source.info.width * source.info.height * 3)))
    frames = read_ahead(_decoded(source, jobs, shown, pixel_format), depth=size)
    try:
        for number, start, stop in segments:
            position = start
            pending: _Decoded | None = None
            while position < stop:
                run = [pending if pending is not None else next(frames)]
                pending = None
                while len(run) < size and position + len(run) < stop:
                    following = next(frames)
                    if following.reasons != run[0].reasons:
                        pending = following
                        break
                    run.append(following)
                yield number, _joined(run, position, source)
                position += len(run)
    finally:
        frames.close()


@dataclass(frozen=True, slots=True)
class _Decoded:
    index: int
    frame: av.VideoFrame
    reasons: tuple[str, ...]


def _decoded(
    source: MediaSource, jobs: Sequence[FaceJob], shown: Iterator[tuple[int, int]], pixel_format: PixelFormat
) -> Iterator[_Decoded]:
    """Decode output frames, which are given as output positions and source frame indexes."""
    positions, indexes = tee(shown)
    frames = source.read_video_frames((index for _, index in indexes), pixel_format)
    for (position, _), (index, frame) in zip(positions, frames, strict=True):
        reasons = tuple(job.skip_reason(position, index) for job in jobs)
        yield _Decoded(index, frame, reasons)


def _joined(run: Sequence[_Decoded], position: int, source: MediaSource) -> _Batch:
    indexes = np.array([decoded.index for decoded in run], np.int64)
    first, last = int(indexes.min()), int(indexes.max()) + 1
    times = source.times(first, last)[indexes - first]
    frames = DecodedFrames([decoded.frame for decoded in run], times, indexes)
    return _Batch(first=position, frames=frames, reasons=run[0].reasons)
