"""Frame selection at 25 Hz, and square face crops for SyncNet.

The published pipeline converts the video to 25 frames per second, detects faces with S3FD, and filters their boxes with
a median over 13 frames. Its square crop is 1.4 times as wide as the box and extends from the box's upper border to 0.4
box heights below the box's lower border. The scores depend on this square. They change if the box moves with the mouth
or if variants of a clip are tracked differently. This module therefore applies the following rules:

* The module selects the frame nearest to each multiple of 1/25 s by timestamp, which supports any constant or variable
  frame rate.
* The box bounds the mesh oval (chin, cheeks, forehead), like the boxes that S3FD was trained on. The box size is
  constant within a track. The box position follows points that do not move during speech and is smoothed with the
  published median filter.
* If the unedited clip was tracked, its face determines the position, so that all variants use identical squares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.metrics.scene import Scene, nearest_times
from scipy.ndimage import median_filter

from retalkit_metrics.square_crops import face_location
from retalkit_metrics.syncnet.network import SIZE

Float = NDArray[np.float64]
Image = NDArray[np.uint8]

RATE: Final = 25
"""Frame rate of the network's training data in frames per second."""
MIN_SIDE: Final = 48.0
"""Minimum side of a face box in pixels. The published pipeline requires 100 pixels."""

_SCALE: Final = 0.4
_SMOOTHING: Final = 13
"""Length of the median filter in frames at 25 frames per second."""
_PADDING: Final = 110
"""Grey level of pixels outside the frame."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Face track: consecutive frames at 25 Hz in which one face was tracked."""

    start: int
    """Index of the first time step, in units of 1/25 s from the start of the video."""
    frames: NDArray[np.int64]
    """Video frame index at each time step, int64 [T]."""
    centres: Float
    """Centre of the face box in pixels, float64 [T, 2]."""
    half: float
    """Half of the face box's side in pixels."""


def nearest_frames(times: Float) -> NDArray[np.int64]:
    """Return the index of the frame nearest to each multiple of 1/25 s from 0 to the last frame, int64 [T].

    ``times``: ascending frame timestamps in seconds, [N]. The result may repeat or skip frames.
    """
    return nearest_times(np.arange(int(np.floor(times[-1] * RATE + 0.5)) + 1) / RATE, times)


def find_segments(scene: Scene) -> list[Segment]:
    """Return all segments of the video with a sufficiently large face, in chronological order."""
    count = scene.source.info.frame_count
    if count == 0:
        return []
    times = scene.source.times(0, count)
    frames = nearest_frames(times)
    tracks, anchors, boxes = _face_boxes(scene, count)
    segments: list[Segment] = []
    # Before the first frame, there is no video.
    tracks = np.where(np.arange(len(frames)) / RATE < times[0] - 0.5 / RATE, -1, tracks[frames])
    borders = (np.flatnonzero(np.diff(tracks)) + 1).tolist()
    for start, stop in zip((0, *borders), (*borders, len(frames)), strict=True):
        if tracks[start] < 0:
            continue
        members = frames[start:stop]
        half = float(np.median(boxes[members, 2:].max(axis=1))) / 2
        if 2 * half < MIN_SIDE:
            continue
        # Offset from the stable points to the box centre. The offset is constant within the segment.
        offset = np.median(boxes[members, :2] - anchors[members], axis=0)
        smoothed = np.asarray(median_filter(anchors[members], (_SMOOTHING, 1), mode="nearest"), np.float64)
        segments.append(Segment(start, members, smoothed + offset, half))
    return segments


def crop_square(image: Image, centre: Float, half: float) -> Image:
    """Return the published square crop around a face box, RGB uint8 [224, 224, 3]. Pixels outside the frame are grey.

    ``image``: RGB uint8 [H, W, 3]. ``centre``: box centre in pixels. ``half``: half of the box's side in pixels.
    """
    x, y = float(centre[0]), float(centre[1])
    across, down = half * (1 + _SCALE), half * (1 + 2 * _SCALE)
    edges = (x - across, y - half, x + across, y + down)
    left, top, right, bottom = (int(np.floor(edge)) for edge in edges)
    height, width = image.shape[:2]
    inside = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if inside.size == 0:
        return np.full((SIZE, SIZE, 3), _PADDING, np.uint8)
    margins = (max(0, -top), max(0, bottom - max(height, 0)), max(0, -left), max(0, right - width))
    if any(margins):
        inside = cv2.copyMakeBorder(inside, *margins, cv2.BORDER_CONSTANT, value=(_PADDING,) * 3)
    return cv2.resize(inside, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _face_boxes(scene: Scene, count: int) -> tuple[NDArray[np.int64], Float, Float]:
    """Return each frame's track number (-1 without a face), mean of the stable points [2], and box [4].

    A box consists of its centre, width and height.
    """
    tracks = np.full(count, -1, np.int64)
    anchors, boxes = np.full((count, 2), np.nan), np.full((count, 4), np.nan)
    stable, oval = list(mesh478.STABLE), list(mesh478.FACE_OVAL)
    for index, track, points in _tracked_frames(scene, count):
        outline = points[oval, :2].astype(np.float64)
        low, high = outline.min(0), outline.max(0)
        tracks[index], anchors[index] = track, points[stable, :2].astype(np.float64).mean(0)
        boxes[index] = (*((low + high) / 2), *(high - low))
    return tracks, anchors, boxes


def _tracked_frames(scene: Scene, count: int) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield the index, track number and landmarks [478, 3] of each frame with a face."""
    for index in range(count):
        analysis, at = face_location(scene, index)
        if analysis is None or at >= analysis.source.info.frame_count:
            continue
        track, points = int(analysis.tracks(at, at + 1)[0]), analysis.landmarks(at, at + 1)[0]
        if track >= 0 and np.isfinite(points).all():
            yield index, track, points
