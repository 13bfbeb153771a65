"""Real frames with real landmarks and synthetic coefficients, for the expression editor ``dnet``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retalkit.media.sources import open_source
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover
from retalkit.stages import DetectionClip, FaceBatch, FrameBatch, Runtime, SourceInfo, StageContext, StageKind
from retalkit.storage.cache import Folder

from tests.plugins.boxes import box_of

Float = NDArray[np.float32]


def synthetic_coefficients(count: int, seed: int = 3) -> Float:
    """Return coefficients float32 [count, 262] in the ranges of a fit."""
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((count, 262))
    rows[:, 224:227] *= 0.1
    rows[:, 254:257] *= 0.1
    rows[:, 257:] = np.array([256, 256, 0.9, 128, 128]) + rows[:, 257:] * np.array([0, 0, 0.02, 2, 2])
    return rows.astype(np.float32)


@dataclass
class RealClip:
    """Frames of a clip; implements ``Analysis`` and ``Source``."""

    images: NDArray[np.uint8]
    points: Float
    rows: Float
    numbers: NDArray[np.int32]
    landmark_scheme: str = "mesh478"
    coefficient_space: str = "bfm257"
    reads: list[int] = field(default_factory=list)

    @property
    def source(self) -> RealClip:
        return self

    @property
    def info(self) -> SourceInfo:
        high, wide = self.images.shape[1:3]
        return SourceInfo(wide, high, len(self.rows), len(self.rows) / 25)

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        return np.arange(start, stop) / 25.0

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for index in indexes:
            self.reads.append(index)
            yield index, self.images[index].copy()

    def landmarks(self, start: int, stop: int) -> Float:
        return self.points[start:stop]

    def coefficients(self, start: int, stop: int) -> Float:
        return self.rows[start:stop]

    def boxes(self, start: int, stop: int) -> Float:
        return box_of(self.points[start:stop])

    def tracks(self, start: int, stop: int) -> NDArray[np.int32]:
        return self.numbers[start:stop]

    def batch(self, *indexes: int) -> FaceBatch:
        rows = np.array(indexes, np.int64)
        frames = FrameBatch(self.images[rows], rows / 25.0, rows)
        return FaceBatch(frames, self.points[rows], self.rows[rows], box_of(self.points[rows]))


def real_clip(path: Path, count: int, folder: Path) -> RealClip:
    """Return the first frames of a clip with the landmarks of the mesh detector, as one shot."""
    source = open_source(path)
    images = np.stack([image for _, image in source.read(range(count))])
    spec = discover().find(StageKind.DETECTOR, "mediapipe").spec
    context = StageContext(Folder(folder), SilentObserver())
    session = spec.make(spec.config(), Runtime()).open(DetectionClip(source=source.info), context)
    try:
        found = session.detect(FrameBatch(images, np.arange(count) / 25.0, np.arange(count)))
    finally:
        session.close()
    points = np.stack([faces[0].landmarks for faces in found])
    return RealClip(images, points, synthetic_coefficients(count), np.zeros(count, np.int32))


def only_numbers(count: int) -> RealClip:
    """Return a clip of one shot without images and landmarks."""
    empty = np.zeros((count, 0, 0, 3), np.uint8)
    points = np.zeros((count, 478, 3), np.float32)
    return RealClip(empty, points, synthetic_coefficients(count), np.zeros(count, np.int32))
