"""The bank of exemplars: source frames of the same person, kept as crops around the mouth.

Pixels lie in one raw file in the stage's cache and are read on demand; numbers lie in an .npz beside it. The size of
both is bounded by the number of exemplars, not by the length of the video.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from time import monotonic
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import HeadPose, to_head_frame
from retalkit.media.prefetch import read_ahead
from retalkit.stages import Analysis, StageContext

from retalkit_renderers.exemplar.mouth_pixels import (
    learn_lip_colour,
    lip_strip,
    mouth_patch,
    pixel_gap,
    skin_look,
    to_lab,
)

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

PIXELS = "bank.u8"
NUMBERS = "bank.npz"
_REACH = (0.36, 0.24, 0.3)
"""Of the crop from the middle of the mouth, in face heights: sideways, up, down; wide enough for the guard."""
_CACHE_BYTES = 48 << 20


@dataclass(frozen=True, slots=True)
class Exemplars:
    """Numbers of K exemplars."""

    indexes: NDArray[np.int64]
    """int64 [K], source frames, ascending."""
    shots: NDArray[np.int32]
    """int32 [K], track that each belongs to."""
    rectangles: NDArray[np.int32]
    """int32 [K, 4]: left, top, width, height of the crop in its frame."""
    landmarks: Float
    """float32 [K, 478, 3], pixels of the frame."""
    coefficients: Float
    """float32 [K, 13], space ``mesh``."""
    patches: Float
    """float32 [K, 32, 48], grey."""
    sharpness: Float
    """float32 [K], fine detail of the skin, grey levels."""
    skin: Float
    """float32 [K, 3], median colour of the skin around the mouth, Lab."""
    gaps: Float
    """float32 [K], pixel gap between the lips in IOD."""

    def __len__(self) -> int:
        return len(self.indexes)

    def rows(self, rows: NDArray[np.int64]) -> Exemplars:
        """Some of them, in the order given."""
        return Exemplars(**{name: getattr(self, name)[rows] for name in Exemplars.__dataclass_fields__})

    @property
    def pose(self) -> HeadPose:
        return mesh_space.unpack_pose(self.coefficients)

    @property
    def heads(self) -> Float:
        """float32 [K, 478, 3] in the head frame."""
        return to_head_frame(self.landmarks, self.pose)


class Bank:
    """Exemplars with their pixels."""

    def __init__(self, exemplars: Exemplars, file: Path) -> None:
        self.exemplars = exemplars
        self._file = file
        sizes = exemplars.rectangles[:, 2].astype(np.int64) * exemplars.rectangles[:, 3] * 3
        self._offsets = np.concatenate([[0], np.cumsum(sizes)])
        self._kept: OrderedDict[int, Image] = OrderedDict()
        self._bytes = 0

    def crop(self, number: int) -> Image:
        """RGB uint8 [h, w, 3] of exemplar ``number``; do not write into it."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        _, _, width, height = (int(value) for value in self.exemplars.rectangles[number])
        offset = int(self._offsets[number])
        pixels = np.fromfile(self._file, np.uint8, count=width * height * 3, offset=offset)
        crop = pixels.reshape(height, width, 3)
        self._kept[number] = crop
        self._bytes += crop.nbytes
        while self._bytes > _CACHE_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return crop

    def close(self) -> None:
        self._kept.clear()
        self._bytes = 0


def mouth_rectangle(landmarks: Float, width: int, height: int) -> tuple[int, int, int, int]:
    """left, top, width, height of the crop around the mouth of landmarks [478, 3], inside a frame."""
    size = float(np.linalg.norm(landmarks[mesh478.CHIN, :2] - landmarks[mesh478.FOREHEAD, :2]))
    points = landmarks[list(mesh478.AROUND_MOUTH + mesh478.OUTER_LIPS), :2]
    centre = landmarks[[13, 14], :2].mean(0)
    # A head on its side or a wide open mouth may reach further than the box around the middle.
    low = np.floor(np.minimum(centre - size * np.array(_REACH[:2]), points.min(0) - 0.1 * size)).astype(int)
    high = np.ceil(np.maximum(centre + size * np.array(_REACH[::2]), points.max(0) + 0.1 * size)).astype(int)
    left, top = (int(np.clip(low[axis], 0, limit - 2)) for axis, limit in enumerate((width, height)))
    right = int(np.clip(high[0], left + 2, width))
    bottom = int(np.clip(high[1], top + 2, height))
    return left, top, right - left, bottom - top


def load_bank(context: StageContext) -> Bank | None:
    """The finished bank in the cache, if there is one."""
    pixels, numbers = context.cache.path(PIXELS), context.cache.path(NUMBERS)
    if pixels is None or numbers is None:
        return None
    with np.load(numbers, allow_pickle=False) as stored:
        return Bank(Exemplars(**{name: stored[name] for name in Exemplars.__dataclass_fields__}), pixels)


@dataclass(frozen=True, slots=True)
class Reading:
    """One source frame, seen while the bank is filled."""

    row: int
    """Row of the bank."""
    index: int
    """Source frame."""
    image: Image
    """RGB uint8 [H, W, 3], the whole frame."""
    landmarks: Float
    """float32 [478, 3], pixels."""
    pose: HeadPose
    """Length 1."""


class BankBuilder:
    """Reads the pixels of chosen source frames once and stores the bank."""

    def __init__(self, analysis: Analysis, indexes: NDArray[np.int64], context: StageContext) -> None:
        """``indexes``: source frames with a face, ascending."""
        self._analysis = analysis
        self._context = context
        self.indexes = indexes
        self.shots = gather(analysis.tracks, indexes)
        self._landmarks = gather(analysis.landmarks, indexes)
        self._coefficients = gather(analysis.coefficients, indexes)
        self._pose = mesh_space.unpack_pose(self._coefficients)
        self._heads = to_head_frame(self._landmarks, self._pose)

    def build(self, visit: Callable[[Iterator[Reading]], None]) -> Bank:
        """Fills the bank. ``visit`` is called once for each shot and must read all that it is given."""
        info = self._analysis.source.info
        rectangles = np.array([mouth_rectangle(one, info.width, info.height) for one in self._landmarks], np.int32)
        patches: list[Float] = []
        sharpness: list[float] = []
        strips: list[Image] = []
        skin: list[Float] = []
        step, began = "exemplars", monotonic()
        self._context.observer.started(step, len(self.indexes))
        # Frames are decoded in a thread of their own while the ones before are measured.
        reading = read_ahead(self._analysis.source.read([int(index) for index in self.indexes]), depth=4)
        with closing(reading) as frames, self._context.cache.write(PIXELS) as path, path.open("wb") as file:

            def readings(rows: list[int]) -> Iterator[Reading]:
                centre = np.median(self._heads[rows], axis=0)
                for row in rows:
                    index, image = next(frames)
                    left, top, width, height = (int(value) for value in rectangles[row])
                    crop = np.ascontiguousarray(image[top : top + height, left : left + width])
                    file.write(crop.tobytes())
                    pose = self._pose[row : row + 1]
                    patches.append(mouth_patch(crop, (left, top), pose, centre))
                    sharp, colour = skin_look(crop, (left, top), self._landmarks[row])
                    sharpness.append(sharp)
                    skin.append(colour)
                    strips.append(lip_strip(crop, (left, top), pose, self._heads[row]))
                    yield Reading(row, index, image, self._landmarks[row], pose)
                    self._context.observer.advanced(step, row + 1)

            for _, rows in groupby(range(len(self.indexes)), key=lambda row: int(self.shots[row])):
                visit(readings(list(rows)))
        colour = learn_lip_colour(strips, self._heads)
        gaps = [pixel_gap(strip, head, colour) for strip, head in zip(strips, self._heads, strict=True)]
        exemplars = Exemplars(
            indexes=self.indexes,
            shots=self.shots,
            rectangles=rectangles,
            landmarks=self._landmarks,
            coefficients=self._coefficients,
            patches=np.array(patches, np.float32),
            sharpness=np.array(sharpness, np.float32),
            skin=to_lab(np.array(skin, np.float32)),
            gaps=np.array(gaps, np.float32),
        )
        with self._context.cache.write(NUMBERS) as path:
            save_arrays(path, {name: getattr(exemplars, name) for name in Exemplars.__dataclass_fields__})
        stored = self._context.cache.path(PIXELS)
        assert stored is not None
        self._context.observer.finished(step, monotonic() - began, False)
        return Bank(exemplars, stored)


def save_arrays(path: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Writes an .npz under exactly that name (numpy adds a suffix to a name, not to a file)."""
    with path.open("wb") as file:
        np.savez(file, **arrays)


Row = TypeVar("Row", bound=np.generic)


def gather(read: Callable[[int, int], NDArray[Row]], indexes: NDArray[np.int64], chunk: int = 512) -> NDArray[Row]:
    """Rows of ascending ``indexes`` from something that is read in ranges; at least one."""
    parts: list[NDArray[Row]] = []
    position = 0
    while position < len(indexes):
        start = int(indexes[position])
        stop = int(np.searchsorted(indexes, start + chunk))
        rows = indexes[position:stop] - start
        parts.append(read(start, start + int(rows[-1]) + 1)[rows])
        position = stop
    return np.concatenate(parts)
