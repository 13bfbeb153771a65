"""Which 25 frames a second SyncNet sees, and which square of each.

The published pipeline turns the video into 25 frames a second, finds faces with S3FD, takes the median of their boxes
over 13 frames and cuts out a square that is 1.4 times as wide as the box and reaches from its upper border to 0.4 box
heights below its lower one. Scores depend on that square: a box that breathes with the mouth, or that another tracker
drew for another variant, moves them. So here:

* The frame that is nearest to each 1/25 s is taken, by timestamps: 30 frames a second and varying ones are fine.
* The box is that of the mesh's oval (chin, cheeks, forehead: what S3FD was trained to box). Its size is one for the
  whole shot; its place follows points that do not move when somebody speaks, with the published median.
* Where the unedited clip was tracked, its face says where the box is: all variants are seen through the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.metrics.scene import Scene
from scipy.ndimage import median_filter

from retalkit_metrics.face_pairs import place_in
from retalkit_metrics.syncnet.network import SIZE

Float = NDArray[np.float64]
Image = NDArray[np.uint8]

RATE: Final = 25
"""Frames a second that the network was trained with."""
SMALLEST: Final = 48.0
"""Pixels a side of a face's box below which it is too small to be read. (The published pipeline asks for 100.)"""

_SCALE: Final = 0.4
_SMOOTHING: Final = 13
"""Frames at 25 a second."""
_OUTSIDE: Final = 110
"""Grey level of what lies outside the frame."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Moments in a row, at 25 a second, in which one face was followed through one shot."""

    start: int
    """First moment, in 1/25 s from the beginning of the video."""
    frames: NDArray[np.int64]
    """int64 [T]: frame of the video at each moment."""
    centres: Float
    """float64 [T, 2]: middle of the face's box in pixels."""
    half: float
    """Half of the box's side in pixels."""


def nearest_frames(times: Float) -> NDArray[np.int64]:
    """Times [N] of frames in seconds, ascending -> int64 [T]: the frame nearest to each 1/25 s from 0 to the last
    frame. A frame may come twice or never."""
    moments = np.arange(int(np.floor(times[-1] * RATE + 0.5)) + 1) / RATE
    after = np.clip(np.searchsorted(times, moments), 1, max(1, len(times) - 1))
    before = after - 1
    after = np.minimum(after, len(times) - 1)
    return np.where(moments - times[before] <= times[after] - moments, before, after).astype(np.int64)


def find_stretches(scene: Scene) -> list[Stretch]:
    """Every stretch of the video with a face that is large enough, in order."""
    count = scene.source.info.frame_count
    if count == 0:
        return []
    frames = nearest_frames(scene.source.times(0, count))
    shots, centres, boxes = _faces(scene, count)
    stretches: list[Stretch] = []
    of_moment = shots[frames]
    borders = np.flatnonzero(np.diff(of_moment)) + 1
    for start, stop in zip((0, *borders), (*borders, len(frames)), strict=True):
        if of_moment[start] < 0:
            continue
        seen = frames[start:stop]
        half = float(np.median(boxes[seen, 2:].max(axis=1))) / 2
        if 2 * half < SMALLEST:
            continue
        # From the still points to the middle of the box: one way for the whole stretch.
        way = np.median(boxes[seen, :2] - centres[seen], axis=0)
        followed = median_filter(centres[seen], (_SMOOTHING, 1), mode="nearest")
        stretches.append(Stretch(int(start), seen, followed + way, half))
    return stretches


def cut_square(image: Image, centre: Float, half: float) -> Image:
    """The published square around a box of half side ``half`` at ``centre`` of RGB uint8 [H, W, 3]: RGB uint8
    [224, 224, 3], grey outside the frame."""
    x, y = float(centre[0]), float(centre[1])
    wide, high = half * (1 + _SCALE), half * (1 + 2 * _SCALE)
    edges = (x - wide, y - half, x + wide, y + high)
    left, top, right, bottom = (int(np.floor(edge)) for edge in edges)
    height, width = image.shape[:2]
    inside = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if inside.size == 0:
        return np.full((SIZE, SIZE, 3), _OUTSIDE, np.uint8)
    margins = (max(0, -top), max(0, bottom - max(height, 0)), max(0, -left), max(0, right - width))
    if any(margins):
        inside = cv2.copyMakeBorder(inside, *margins, cv2.BORDER_CONSTANT, value=(_OUTSIDE,) * 3)
    return cv2.resize(inside, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _faces(scene: Scene, count: int) -> tuple[NDArray[np.int64], Float, Float]:
    """Of each frame: shot (-1: no face), the mean of the still points [2], and the box as middle, width, height [4]."""
    shots = np.full(count, -1, np.int64)
    centres, boxes = np.full((count, 2), np.nan), np.full((count, 4), np.nan)
    still, oval = list(mesh478.STABLE), list(mesh478.FACE_OVAL)
    for index, shot, points in _tracked(scene, count):
        outline = points[oval, :2].astype(np.float64)
        least, most = outline.min(0), outline.max(0)
        shots[index], centres[index] = shot, points[still, :2].astype(np.float64).mean(0)
        boxes[index] = (*((least + most) / 2), *(most - least))
    return shots, centres, boxes


def _tracked(scene: Scene, count: int) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Frame, its shot and its landmarks [478, 3], for every frame with a face."""
    for index in range(count):
        analysis, at = place_in(scene, index)
        if analysis is None or at >= analysis.source.info.frame_count:
            continue
        shot, points = int(analysis.tracks(at, at + 1)[0]), analysis.landmarks(at, at + 1)[0]
        if shot >= 0 and np.isfinite(points).all():
            yield index, shot, points
