"""Decoded frames in batches with the starts of shots, for stages that read all frames of a clip."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final

import numpy as np

from retalkit.geometry.scene_cuts import CutDetector, sampling_step, thumbnail_of_samples
from retalkit.media.decoded_frames import DecodedFrames
from retalkit.media.prefetch import ReadAhead
from retalkit.media.sources import VideoSource
from retalkit.pipeline.analysis_store import LimitedSource
from retalkit.stages import FrameBatch, Source

_BATCH_BYTES: Final = 24 << 20


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
