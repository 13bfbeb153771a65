"""Rendering step, which decodes the source again, edits the frames, and encodes the output segment by segment.

Completed segments are kept in the cache so that an interrupted run can resume after the last completed segment. Segment
boundaries depend only on the output position, and session results do not depend on batch boundaries. The output of a
resumed run is therefore identical to the output of an uninterrupted run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby, tee
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from retalkit.imaging.compositing import composite
from retalkit.media.decoded_frames import DecodedFrames
from retalkit.media.encoding import SegmentWriter
from retalkit.media.frame_editing import to_rgb
from retalkit.media.pixel_format import YUV420P, PixelFormat
from retalkit.media.prefetch import ReadAhead
from retalkit.media.sources import MediaSource
from retalkit.observer import Observer
from retalkit.photo_motion.animator import PhotoAnimator
from retalkit.pipeline.face_job import FaceJob, SyncedFrames
from retalkit.pipeline.frame_counts import FrameCounts
from retalkit.pipeline.frame_edits import animated_frame, edit_frame
from retalkit.pipeline.layer import LayerSegment, layer_name, layer_segment
from retalkit.pipeline.preview import OutputWindow
from retalkit.pipeline.run_helpers import SharedWork
from retalkit.pipeline.segments import counts_name, is_large, segment_name, segment_ranges
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.stages import FrameResult, PassedThrough
from retalkit.storage.cache import Folder

_BATCH_BYTES = 16 << 20
_OUTSIDE = "edit outside the frame"


class OpenWriter(Protocol):
    """Callable that opens the writer of one segment."""

    def __call__(self, path: Path) -> SegmentWriter: ...


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRenderer:
    """Renderer of a run's segments, which may render some or all of them in any order."""

    source: MediaSource
    jobs: Sequence[FaceJob]
    window: OutputWindow
    """Part of the output to render."""
    open_writer: OpenWriter
    folder: Folder
    """Directory of the segments."""
    cancelled: Callable[[], bool]
    pixel_format: PixelFormat = YUV420P
    """Format in which frames are edited and encoded."""
    animators: Sequence[PhotoAnimator] = ()
    """Animators that move the heads in a still image."""
    open_layer: OpenWriter | None = None
    """Opens the writer of a segment that contains only the edits, or None if no layer is requested."""
    overlaps: bool = True
    """Whether lip sync runs in its own thread. Stages that mainly execute Python code are faster in a single thread,
    because Python executes one thread at a time and the threads would wait for each other."""

    @property
    def segments(self) -> list[tuple[int, int]]:
        """Range of output positions of each segment."""
        return segment_ranges(self.window.start, self.window.stop)

    def stored(self) -> dict[int, dict[str, Any]]:
        """Return the frame counts of all complete segments by number."""
        found: dict[int, dict[str, Any]] = {}
        for number in range(len(self.segments)):
            record = self.folder.path(counts_name(number))
            data = {} if record is None else json.loads(record.read_text(encoding="utf-8"))
            # Earlier versions stored no runs.
            layered = self.open_layer is None or self.folder.path(layer_name(number)) is not None
            if "runs" in data and layered and self.folder.path(segment_name(number)) is not None:
                found[number] = data
        return found

    def render(self, numbers: Iterable[int], advanced: Callable[[int], None]) -> int:
        """Render the segments ``numbers`` and return the number of rendered frames.

        ``numbers`` may be an iterator that chooses a segment only when the previous segment has been decoded.
        ``advanced`` receives the number of frames that have been rendered.

        Raises RunCancelledError between batches if the run is cancelled. Completed segments are kept.
        """

        def synced_batches() -> Generator[_SyncedBatch]:
            for batch in _batches(self, self._positions(numbers)):
                check_cancelled(self.cancelled)
                yield _SyncedBatch(batch, _sync(self.jobs, batch))

        done = 0
        # Two or three threads run in addition to the encoder threads: decoding, lip sync, and the remaining work. Each
        # session is used by only one of these threads.
        work = ReadAhead(synced_batches(), depth=2) if self.overlaps else synced_batches()
        # Encoders delay their last frames, so that a segment is completed while the next one is rendered.
        with closing(work), ThreadPoolExecutor(max_workers=1, thread_name_prefix="segment end") as executor:
            ending: Future[None] | None = None
            for number, parts in groupby(work, key=lambda part: part.batch.segment):
                counts = FrameCounts()
                with ExitStack() as stack:
                    path = stack.enter_context(self.folder.write(segment_name(number)))
                    layer = stack.enter_context(layer_segment(self.folder, number, self.source.size, self.open_layer))
                    writer = stack.enter_context(self.open_writer(path))
                    for part in parts:
                        written = self._write(writer, part.batch, _enhance(self.jobs, part), layer)
                        for position, results in enumerate(written, part.batch.first):
                            counts.add(position, results)
                        done += part.batch.count
                        advanced(done)
                    if ending is not None:
                        ending.result()
                    ending = executor.submit(self._complete, number, counts, stack.pop_all())
                    if is_large(self.source.size):
                        ending.result()
            if ending is not None:
                ending.result()
        return done

    def _complete(self, number: int, counts: FrameCounts, files: ExitStack) -> None:
        """Close the files of a segment, and mark the segment as complete."""
        files.close()
        with self.folder.write(counts_name(number)) as path:
            path.write_text(json.dumps(counts.as_dict()), encoding="utf-8")

    def _positions(self, numbers: Iterable[int]) -> Iterator[_Position]:
        """Yield the output positions of the segments ``numbers``."""
        segments = self.segments
        for number in numbers:
            start, stop = segments[number]
            for position, index in enumerate(self.window.timeline.sources(start, stop), start=start):
                yield _Position(number, position, int(index))

    def _write(
        self, writer: SegmentWriter, batch: _Batch, results: Sequence[list[FrameResult]], layer: LayerSegment | None
    ) -> list[list[FrameResult]]:
        """Composite the edits into every frame, encode the frames, and return the results for the frame counts.

        An edit outside the frame is returned as ``PassedThrough``.
        """
        counted: list[list[FrameResult]] = []
        window, stop = self.window, batch.first + batch.count
        times, durations = window.times(batch.first, stop), window.timeline.durations(batch.first, stop)
        for row, (frame, frame_results) in enumerate(zip(batch.frames.decoded, results, strict=True)):
            image = to_rgb(frame) if self.animators else None
            final: list[FrameResult] = []
            # The stages have already converted the face of an unedited frame.
            crop = partial(batch.frames.crop, row)
            for result in frame_results:
                if not isinstance(result, PassedThrough):
                    edited = edit_frame(frame, result, crop if frame is batch.frames.decoded[row] else None)
                    if edited is not None:
                        frame = edited
                    elif (result.mask > 0).any():
                        result = PassedThrough(_OUTSIDE)
                    if image is not None and not isinstance(result, PassedThrough):
                        composite(image, result)
                final.append(result)
            if image is not None:
                frame = animated_frame(frame, image, self.animators, batch.first + row)
            writer.write_frame(window.scaled(frame), float(times[row]), float(durations[row]))
            if layer is not None:
                layer.write(final, self.animators, image, float(times[row]), float(durations[row]))
            counted.append(final)
        return counted


def render(renderer: SegmentRenderer, observer: Observer, shared: SharedWork | None = None) -> Rendering:
    """Render all segments that are missing.

    ``shared``: other processes that render segments of the same run at the same time, or None.

    Raises RunCancelledError between batches if the run is cancelled. Completed segments are kept.
    """
    lengths = [stop - start for start, stop in renderer.segments]
    numbers = range(len(lengths))
    stored = renderer.stored()
    complete = sum(lengths[number] for number in stored)
    rendered = sum(lengths) - complete
    missing = [number for number in numbers if number not in stored]
    shown = 0

    def report(done: int) -> None:
        # Frames of a helper that fails are counted before they are rendered again.
        nonlocal shown
        shown = max(shown, done)
        observer.advanced("render", shown)

    if shared is not None and missing:

        def advanced(done: int) -> None:
            report(complete + done + shared.done())

        def poll() -> None:
            check_cancelled(renderer.cancelled)
            advanced(own)

        own = renderer.render(shared.claimed(missing), advanced)
        shared.wait(poll)
        # If a helper has failed, this process renders the segments that are still missing.
        stored = renderer.stored()
        complete = sum(lengths[number] for number in stored)
        missing = [number for number in numbers if number not in stored]
    renderer.render(missing, lambda done: report(complete + done))
    stored = renderer.stored()
    counts = FrameCounts()
    for number in numbers:
        counts.merge(stored[number])
    folder = renderer.folder.folder
    paths = [[folder / name(number) for number in numbers] for name in (segment_name, layer_name)]
    return Rendering(paths[0], counts, paths[1], rendered)


@dataclass(frozen=True, slots=True)
class _Position:
    """Output frame to render."""

    segment: int
    position: int
    index: int
    """Source frame index."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Consecutive output frames of one segment in which the same set of faces is edited."""

    segment: int
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


def _batches(renderer: SegmentRenderer, positions: Iterator[_Position]) -> Iterator[_Batch]:
    """Divide output positions into batches of limited byte size.

    The same set of faces is edited in all frames of a batch. One reader decodes all positions in sequence so that no
    seek is required at segment boundaries.
    """
    source = renderer.source
    size = max(1, min(16, _BATCH_BYTES // max(1, source.info.width * source.info.height * 3)))
    run: list[_Decoded] = []
    frames = ReadAhead(_decoded(renderer, positions), depth=size)
    try:
        for decoded in frames:
            if run and (len(run) == size or not decoded.belongs_to(run[0])):
                yield _joined(run, source)
                run = []
            run.append(decoded)
        if run:
            yield _joined(run, source)
    finally:
        frames.close()


@dataclass(frozen=True, slots=True)
class _Decoded:
    at: _Position
    frame: av.VideoFrame
    reasons: tuple[str, ...]

    def belongs_to(self, first: _Decoded) -> bool:
        """Return whether the frame may be in the same batch as ``first``."""
        return self.at.segment == first.at.segment and self.reasons == first.reasons


def _decoded(renderer: SegmentRenderer, positions: Iterator[_Position]) -> Iterator[_Decoded]:
    """Decode the source frames of output positions."""
    shown, requested = tee(positions)
    frames = renderer.source.read_video_frames((each.index for each in requested), renderer.pixel_format)
    for at, (_, frame) in zip(shown, frames, strict=True):
        yield _Decoded(at, frame, tuple(job.skip_reason(at.position, at.index) for job in renderer.jobs))


def _joined(run: Sequence[_Decoded], source: MediaSource) -> _Batch:
    indexes = np.array([decoded.at.index for decoded in run], np.int64)
    first, last = int(indexes.min()), int(indexes.max()) + 1
    times = source.times(first, last)[indexes - first]
    frames = DecodedFrames([decoded.frame for decoded in run], times, indexes)
    return _Batch(segment=run[0].at.segment, first=run[0].at.position, frames=frames, reasons=run[0].reasons)
