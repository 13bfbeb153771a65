"""A short clip in memory that implements what a session may read: source, analysis, timeline, speech."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retalkit.speech.activity import ACTIVITY_RATE
from retalkit.speech.track import SpeechTrack
from retalkit.stages import (
    SPEECH_RATE,
    FaceBatch,
    FrameBatch,
    ReferenceBatch,
    SourceInfo,
    SyncBatch,
)

Float = NDArray[np.float32]
Image = NDArray[np.uint8]
Indexes = NDArray[np.int64]

LAST_FRAME: Final = 0.04
"""Seconds for which the last frame is shown."""


class ClipSource:
    """Implements ``Source``: pictures are drawn when they are read, so that the kit holds none."""

    def __init__(self, draw: Callable[[int], Image], times: NDArray[np.float64], width: int, height: int) -> None:
        self._draw = draw
        self._times = times
        self._info = SourceInfo(width, height, len(times), float(times[-1]) + LAST_FRAME)

    @property
    def info(self) -> SourceInfo:
        return self._info

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        _check_range(start, stop, len(self._times), "times")
        return self._times[start:stop].copy()

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, Image]]:
        for index in indexes:
            _check_range(int(index), int(index) + 1, len(self._times), "frames")
            yield int(index), self._draw(int(index))


@dataclass(frozen=True)
class ClipAnalysis:
    """Implements ``Analysis`` over arrays; every answer is a copy, as if it were read from a file."""

    clip_source: ClipSource
    scheme: str
    space: str
    all_landmarks: Float
    all_coefficients: Float
    all_boxes: Float
    all_shots: NDArray[np.int32]

    @property
    def source(self) -> ClipSource:
        return self.clip_source

    @property
    def landmark_scheme(self) -> str:
        return self.scheme

    @property
    def coefficient_space(self) -> str:
        return self.space

    def landmarks(self, start: int, stop: int) -> Float:
        return self._rows(self.all_landmarks, start, stop, "landmarks")

    def coefficients(self, start: int, stop: int) -> Float:
        return self._rows(self.all_coefficients, start, stop, "coefficients")

    def boxes(self, start: int, stop: int) -> Float:
        return self._rows(self.all_boxes, start, stop, "boxes")

    def shots(self, start: int, stop: int) -> NDArray[np.int32]:
        return self._rows(self.all_shots, start, stop, "shots")

    def _rows(self, rows: NDArray[Any], start: int, stop: int, what: str) -> NDArray[Any]:
        _check_range(start, stop, len(rows), what)
        return rows[start:stop].copy()


class ClipTimeline:
    """Implements ``Timeline``: the source forward and backward in turn, every frame of the output 0.04 s long."""

    def __init__(self, frames: int, count: int) -> None:
        there_and_back = np.concatenate([np.arange(frames), np.arange(frames - 2, 0, -1)])
        self._sources: Indexes = there_and_back[np.arange(count) % len(there_and_back)].astype(np.int64)

    @property
    def count(self) -> int:
        return len(self._sources)

    @property
    def duration(self) -> float:
        return self.count * LAST_FRAME

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        return self._positions(start, stop).astype(np.float64) * LAST_FRAME

    def sources(self, start: int, stop: int) -> Indexes:
        return self._sources[self._positions(start, stop)]

    def _positions(self, start: int, stop: int) -> Indexes:
        first = max(start, 0)
        return np.arange(first, max(min(stop, self.count), first), dtype=np.int64)


class ArrayReader:
    """Implements ``WaveReader`` and ``ValueReader`` over an array."""

    def __init__(self, values: Float) -> None:
        self._values = values

    @property
    def sample_count(self) -> int:
        return len(self._values)

    def read(self, start: int, stop: int) -> Float:
        found = np.zeros(max(stop - start, 0), np.float32)
        first, last = max(start, 0), min(stop, len(self._values))
        if last > first:
            found[first - start : last - start] = self._values[first:last]
        return found


def speech_track(waveform: Float, loudness: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> SpeechTrack:
    """The sound with the voice activity that its known loudness means."""
    moments = np.arange(round(len(waveform) / SPEECH_RATE * ACTIVITY_RATE)) / ACTIVITY_RATE
    reach = 0.15
    near = np.max([loudness(moments + shift) for shift in (-reach, 0.0, reach)], axis=0) if len(moments) else moments
    return SpeechTrack(ArrayReader(waveform), ArrayReader((near > 0.05).astype(np.float32)))


@dataclass(frozen=True)
class Clip:
    """A source with its analysis, and how its frames reach a stage."""

    analysis: ClipAnalysis
    draw: Callable[[int], Image]
    speech: SpeechTrack
    output_count: int
    """Frames of the output."""

    @property
    def source(self) -> ClipSource:
        return self.analysis.source

    @property
    def count(self) -> int:
        return self.source.info.frame_count

    @cached_property
    def timeline(self) -> ClipTimeline:
        return ClipTimeline(self.count, self.output_count)

    def frames(self, indexes: Indexes, *, images: bool = True) -> FrameBatch:
        """Source frames by index; without ``images`` as the runner gives them to a stage that reads no frames."""
        info = self.source.info
        pictures = [self.draw(int(index)) for index in indexes] if images else []
        shape = (info.height, info.width, 3) if images else (0, 0, 3)
        stacked = np.stack(pictures) if pictures else np.zeros((len(indexes), *shape), np.uint8)
        return FrameBatch(stacked, self.source.times(0, self.count)[indexes], indexes.copy())

    def faces(self, indexes: Indexes, *, images: bool = True, coefficients: bool = True) -> FaceBatch:
        """Source frames with what is known of them; without ``coefficients`` as a reconstructor is given them."""
        analysis = self.analysis
        known = analysis.all_coefficients[indexes] if coefficients else np.zeros((len(indexes), 0), np.float32)
        frames = self.frames(indexes, images=images)
        return FaceBatch(frames, analysis.all_landmarks[indexes], known, analysis.all_boxes[indexes])

    def sync_batch(self, positions: Indexes, *, references: bool) -> SyncBatch:
        """Frames of the output by position, which ascend by 1; ``references`` says whether images are wanted, too."""
        first = int(positions[0]) if len(positions) else 0
        stop = first + len(positions)
        faces = self.faces(self.timeline.sources(first, stop))
        return SyncBatch(positions.copy(), self.timeline.times(first, stop), faces, plain_references(faces, references))

    def without_coefficients(self) -> Clip:
        """The clip as a reconstructor finds it."""
        nothing = np.zeros((self.count, 0), np.float32)
        return replace(self, analysis=replace(self.analysis, space="", all_coefficients=nothing))


class PlainReferences:
    """An expression editor's session that leaves every face as it is; implements ``ExpressionEditorSession``."""

    def __init__(self, images: bool) -> None:
        self._images = images

    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        return plain_references(faces, self._images)

    def close(self) -> None: ...


def plain_references(faces: FaceBatch, images: bool) -> ReferenceBatch:
    """The faces themselves as references."""
    return ReferenceBatch(faces.landmarks.copy(), faces.frames.images.copy() if images else None)


def _check_range(start: int, stop: int, count: int, what: str) -> None:
    if not 0 <= start <= stop <= count:
        raise IndexError(f"{what} {start} to {stop} of {count} were asked for")
