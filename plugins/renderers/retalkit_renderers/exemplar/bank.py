"""Exemplar bank, which contains source frames of one person, stored as image crops around the mouth.

One raw file in the stage cache stores the crops' pixels, which are loaded on demand. An .npz file stores the exemplars'
measurements. The size of both files depends on the number of exemplars and not on the video's duration.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import RunCancelledError
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import HeadPose, to_head_frame
from retalkit.media.decoded_frames import read_frames
from retalkit.media.prefetch import ReadAhead
from retalkit.stages import Analysis, FrameBatch, StageContext

from retalkit_renderers.exemplar.mouth_appearance import (
    fit_lip_classifier,
    lip_strip,
    mouth_patch,
    pixel_gap,
    skin_appearance,
    strip_labs,
    to_lab,
)

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

PIXELS = "bank.u8"
MEASUREMENTS = "bank.npz"
_REACH = (0.36, 0.24, 0.3)
"""Crop extents to the side, upwards and downwards from the mouth centre, in face heights.

The occlusion detector requires these extents.
"""
_CACHE_BYTES = 48 << 20
"""Memory limit for the crop cache in bytes."""


@dataclass(frozen=True, slots=True)
class Exemplars:
    """Measurements for K exemplars."""

    indexes: NDArray[np.int64]
    """Source frame indexes in ascending order, int64 [K]."""
    tracks: NDArray[np.int32]
    """Track number of each exemplar, int32 [K]."""
    rectangles: NDArray[np.int32]
    """Crop rectangles (left, top, width, height) in pixels of the source frame, int32 [K, 4]."""
    landmarks: Float
    """Mesh landmarks in pixels of the source frame, float32 [K, 478, 3]."""
    coefficients: Float
    """Coefficients in the space ``mesh``, float32 [K, 13]."""
    patches: Float
    """Greyscale mouth patches, float32 [K, 32, 48]."""
    sharpness: Float
    """Standard deviation of the Laplacian on the skin in grey levels, float32 [K]."""
    skin: Float
    """Median colour of the skin around the mouth in Lab, float32 [K, 3]."""
    gaps: Float
    """Gap between the lips in IOD, measured from the image pixels instead of the landmarks, float32 [K]."""

    def __len__(self) -> int:
        return len(self.indexes)

    def rows(self, rows: NDArray[np.int64]) -> Exemplars:
        """Return the exemplars at the given row indexes, in the order of the indexes."""
        return Exemplars(**{name: getattr(self, name)[rows] for name in Exemplars.__dataclass_fields__})

    @property
    def pose(self) -> HeadPose:
        return mesh_space.unpack_pose(self.coefficients)

    @property
    def heads(self) -> Float:
        """Return the head-frame landmarks, float32 [K, 478, 3]."""
        return to_head_frame(self.landmarks, self.pose)


class Bank:
    """Exemplars and their pixels. The bank caches recently used crops in memory."""

    def __init__(self, exemplars: Exemplars, file: Path) -> None:
        self.exemplars = exemplars
        self._file = file
        sizes = exemplars.rectangles[:, 2].astype(np.int64) * exemplars.rectangles[:, 3] * 3
        self._offsets = np.concatenate([[0], np.cumsum(sizes)])
        self._crops: OrderedDict[int, Image] = OrderedDict()
        self._bytes = 0

    def crop(self, number: int) -> Image:
        """Return the crop of exemplar ``number``, RGB uint8 [h, w, 3]. Callers must not modify the array."""
        if number in self._crops:
            self._crops.move_to_end(number)
            return self._crops[number]
        _, _, width, height = (int(value) for value in self.exemplars.rectangles[number])
        offset = int(self._offsets[number])
        pixels = np.fromfile(self._file, np.uint8, count=width * height * 3, offset=offset)
        crop = pixels.reshape(height, width, 3)
        self._crops[number] = crop
        self._bytes += crop.nbytes
        while self._bytes > _CACHE_BYTES and len(self._crops) > 1:
            self._bytes -= self._crops.popitem(last=False)[1].nbytes
        return crop

    def close(self) -> None:
        self._crops.clear()
        self._bytes = 0


def mouth_rectangle(landmarks: Float, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the box of the mouth crop (left, top, width, height) for landmarks [478, 3], clipped to the frame."""
    size = float(np.linalg.norm(landmarks[mesh478.CHIN, :2] - landmarks[mesh478.FOREHEAD, :2]))
    points = landmarks[list(mesh478.AROUND_MOUTH + mesh478.OUTER_LIPS), :2]
    centre = landmarks[[13, 14], :2].mean(0)
    # The mouth of a tilted head or a wide open mouth may extend beyond the box around the mouth centre.
    low = np.floor(np.minimum(centre - size * np.array(_REACH[:2]), points.min(0) - 0.1 * size)).astype(int)
    high = np.ceil(np.maximum(centre + size * np.array(_REACH[::2]), points.max(0) + 0.1 * size)).astype(int)
    left, top = (int(np.clip(low[axis], 0, limit - 2)) for axis, limit in enumerate((width, height)))
    right = int(np.clip(high[0], left + 2, width))
    bottom = int(np.clip(high[1], top + 2, height))
    return left, top, right - left, bottom - top


def load_bank(context: StageContext) -> Bank | None:
    """Return the cached bank, or None if the cache contains no bank."""
    pixels, measurements = context.cache.path(PIXELS), context.cache.path(MEASUREMENTS)
    if pixels is None or measurements is None:
        return None
    with np.load(measurements, allow_pickle=False) as stored:
        return Bank(Exemplars(**{name: stored[name] for name in Exemplars.__dataclass_fields__}), pixels)


@dataclass(frozen=True, slots=True)
class BankFrame:
    """Source frame that is decoded to fill the bank."""

    row: int
    """Row index in the bank."""
    index: int
    """Source frame index."""
    frame: FrameBatch
    """Complete source frame (T = 1)."""
    landmarks: Float
    """Mesh landmarks in pixels, float32 [478, 3]."""
    pose: HeadPose
    """Head pose in the frame (T = 1)."""


class BankBuilder:
    """Bank builder that decodes the selected source frames once and stores the bank."""

    def __init__(self, analysis: Analysis, indexes: NDArray[np.int64], context: StageContext) -> None:
        """Initialise the builder.

        ``indexes``: ascending indexes of source frames that contain a face.
        """
        self._analysis = analysis
        self._context = context
        self.indexes = indexes
        self.tracks = gather(analysis.tracks, indexes)
        self._landmarks = gather(analysis.landmarks, indexes)
        self._coefficients = gather(analysis.coefficients, indexes)
        self._pose = mesh_space.unpack_pose(self._coefficients)
        self._heads = to_head_frame(self._landmarks, self._pose)

    def build(self, visit: Callable[[Iterator[BankFrame]], None]) -> Bank:
        """Fill the bank, and call ``visit`` once per track. ``visit`` must consume its whole frame iterator."""
        info = self._analysis.source.info
        rectangles = np.array([mouth_rectangle(one, info.width, info.height) for one in self._landmarks], np.int32)
        patches: list[Float] = []
        sharpness: list[float] = []
        strips: list[Image] = []
        skin: list[Float] = []
        step, began = "exemplars", monotonic()
        self._context.observer.started(step, len(self.indexes))
        # A separate thread decodes frames while earlier frames are measured.
        source_frames = ReadAhead(read_frames(self._analysis.source, [int(index) for index in self.indexes]), depth=4)
        with closing(source_frames) as decoded, self._context.cache.write(PIXELS) as path, path.open("wb") as file:

            def frames_of_track(rows: list[int]) -> Iterator[BankFrame]:
                centre = np.median(self._heads[rows], axis=0)
                for row in rows:
                    if self._context.cancelled:
                        raise RunCancelledError("the run was cancelled; repeat the call to resume the run")
                    frame = next(decoded)
                    left, top, width, height = (int(value) for value in rectangles[row])
                    crop = np.ascontiguousarray(frame.crop(0, left, top, width, height))
                    file.write(crop.tobytes())
                    pose = self._pose[row : row + 1]
                    patches.append(mouth_patch(crop, (left, top), pose, centre))
                    detail, colour = skin_appearance(crop, (left, top), self._landmarks[row])
                    sharpness.append(detail)
                    skin.append(colour)
                    strips.append(lip_strip(crop, (left, top), pose, self._heads[row]))
                    yield BankFrame(row, int(frame.indexes[0]), frame, self._landmarks[row], pose)
                    self._context.observer.advanced(step, row + 1)

            for _, rows in groupby(range(len(self.indexes)), key=lambda row: int(self.tracks[row])):
                visit(frames_of_track(list(rows)))
        labs = strip_labs(strips)
        classifier = fit_lip_classifier(labs, self._heads)
        gaps = [pixel_gap(lab, head, classifier) for lab, head in zip(labs, self._heads, strict=True)]
        exemplars = Exemplars(
            indexes=self.indexes,
            tracks=self.tracks,
            rectangles=rectangles,
            landmarks=self._landmarks,
            coefficients=self._coefficients,
            patches=np.array(patches, np.float32),
            sharpness=np.array(sharpness, np.float32),
            skin=to_lab(np.array(skin, np.float32)),
            gaps=np.array(gaps, np.float32),
        )
        with self._context.cache.write(MEASUREMENTS) as path:
            save_arrays(path, {name: getattr(exemplars, name) for name in Exemplars.__dataclass_fields__})
        stored = self._context.cache.path(PIXELS)
        assert stored is not None
        self._context.observer.finished(step, monotonic() - began, False)
        return Bank(exemplars, stored)


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz file to exactly ``path``. NumPy appends a suffix to a path but not to an open file."""
    with path.open("wb") as file:
        np.savez(file, **arrays)


RowT = TypeVar("RowT", bound=np.generic)


def gather(read: Callable[[int, int], NDArray[RowT]], indexes: NDArray[np.int64], chunk: int = 512) -> NDArray[RowT]:
    """Return the rows at ``indexes`` (ascending, at least one) from an array that ``read`` loads by range."""
    parts: list[NDArray[RowT]] = []
    position = 0
    while position < len(indexes):
        start = int(indexes[position])
        stop = int(np.searchsorted(indexes, start + chunk))
        rows = indexes[position:stop] - start
        parts.append(read(start, start + int(rows[-1]) + 1)[rows])
        position = stop
    return np.concatenate(parts)
