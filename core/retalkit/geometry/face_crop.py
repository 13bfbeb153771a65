"""The square part of a frame that the published networks see, and its place in every frame of a clip.

The square is that of the FFHQ data set (Karras et al., "A style-based generator architecture for generative adversarial
networks", CVPR 2019, appendix A), upright instead of rotated. VideoReTalking takes it from the first frame for the
whole video; here it follows the head, smoothly and inside a shot only.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.schemes import IBUG68, IBUG_CORNERS, IBUG_LEFT_EYE, IBUG_RIGHT_EYE, convert
from retalkit.stages import Analysis

Points = NDArray[np.float32] | NDArray[np.float64]

CROP_SIZE: Final = 256
"""Pixels a side of the resized crop that the published reconstructor and expression editor work on."""
SMOOTHING: Final = 1.0
"""Seconds. The crop is a mean over neighbouring frames whose weight falls to one half at half of this distance in time
and to zero at all of it."""

_CHUNK: Final = 256
"""Rows of landmarks in memory at a time: 1.4 MB of a mesh."""


def face_squares(landmarks: Points) -> NDArray[np.float64]:
    """Landmarks [T, 68, 2 or 3] (ibug68, pixels, y down) -> float64 [T, 3]: centre x, centre y, half of the side.

    The half side is |a| + |b| of the rotated FFHQ square's half axis (a, b), so that the upright square just holds the
    rotated one. Rows of NaN stay NaN. A row does not depend on the others.
    """
    points = np.asarray(landmarks, np.float64)[..., :2]
    left, right = _mean(points[:, IBUG_LEFT_EYE]), _mean(points[:, IBUG_RIGHT_EYE])
    eyes = (left + right) * 0.5
    across = right - left
    down = (points[:, IBUG_CORNERS[0]] + points[:, IBUG_CORNERS[1]]) * 0.5 - eyes
    axis = across - down[:, ::-1] * (-1.0, 1.0)
    length = np.maximum(_length(across) * 2.0, _length(down) * 1.8)
    # Points that all lie on one spot have no direction; they give a square of no size.
    axis = axis / np.maximum(_length(axis), np.finfo(np.float64).tiny)[:, None] * length[:, None]
    centre = eyes + down * 0.1
    half = np.abs(axis).sum(axis=1, keepdims=True)
    return np.concatenate([centre, half], axis=1)


def square_boxes(squares: NDArray[np.float64], width: int, height: int) -> NDArray[np.float32]:
    """Squares [T, 3] as ``face_squares`` gives them -> float32 [T, 4], whole numbers: left, top, right, bottom in
    pixels (right and bottom just outside), rounded and cut off at the borders of a ``width`` x ``height`` frame.

    Rows of NaN stay NaN; so does a row whose square leaves less than one pixel of the frame.
    """
    half = squares[:, 2:]
    edges = np.floor(np.concatenate([squares[:, :2] - half, squares[:, :2] + half], axis=1) + 0.5)
    boxes = np.clip(edges, 0.0, (width, height, width, height)).astype(np.float32)
    boxes[~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)] = np.nan
    return boxes


def crop_boxes(analysis: Analysis, start: int, stop: int) -> NDArray[np.float32]:
    """float32 [T, 4] of source frames [start, stop): the face's crop box in pixels, whole numbers (left, top, right,
    bottom; right and bottom just outside) inside the frame. Rows of NaN where there is no face.

    Centre and size are smoothed over ``SMOOTHING`` seconds inside a shot. A frame's box does not depend on the asked
    range; a head that keeps still has one box. Raises PlanError where the landmarks cannot be turned into ibug68.
    """
    info = analysis.source.info
    out = np.full((stop - start, 3), np.nan)
    for first in range(start, stop, _CHUNK):
        last = min(first + _CHUNK, stop)
        out[first - start : last - start] = _smoothed(analysis, first, last)
    return square_boxes(out, info.width, info.height)


def crop_boxes_at(analysis: Analysis, indexes: NDArray[np.int64]) -> NDArray[np.float32]:
    """As ``crop_boxes``, float32 [T, 4], for source frames int64 [T] in any order, also more than once."""
    frames, places = np.unique(indexes, return_inverse=True)
    runs = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
    boxes = [crop_boxes(analysis, int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
    return np.concatenate(boxes)[places] if boxes else np.empty((0, 4), np.float32)


def cut_face(image: NDArray[np.uint8], box: NDArray[np.float32], size: int = CROP_SIZE) -> NDArray[np.uint8]:
    """Part ``box`` (a finite row of ``crop_boxes``) of a frame uint8 [H, W, 3], resized bilinearly as the published
    pipeline does: uint8 [size, size, 3]."""
    left, top, right, bottom = (int(edge) for edge in box)
    resized = cv2.resize(image[top:bottom, left:right], (size, size), interpolation=cv2.INTER_LINEAR)
    return resized.astype(np.uint8, copy=False)


def points_in_crop(points: Points, box: NDArray[np.float32], size: int = CROP_SIZE) -> NDArray[np.float64]:
    """Points [..., 2 or more] in pixels of the frame -> float64 [..., 2] in pixels of ``cut_face``'s result."""
    corner, extent = np.asarray(box[:2], np.float64), np.asarray(box[2:] - box[:2], np.float64)
    return (np.asarray(points, np.float64)[..., :2] - corner + 0.5) * (size / extent) - 0.5


def crop_matrix(box: NDArray[np.float32], size: int = CROP_SIZE) -> NDArray[np.float32]:
    """float32 [2, 3]: maps pixel centres of the frame to pixel centres of ``cut_face``'s result, as ``FaceEdit.matrix``
    wants it."""
    corner, extent = np.asarray(box[:2], np.float64), np.asarray(box[2:] - box[:2], np.float64)
    scale = size / extent
    return np.column_stack([np.diag(scale), (0.5 - corner) * scale - 0.5]).astype(np.float32)


def _smoothed(analysis: Analysis, start: int, stop: int) -> NDArray[np.float64]:
    """Smoothed squares [T, 3] of source frames [start, stop)."""
    out = np.full((stop - start, 3), np.nan)
    if not (analysis.shots(start, stop) >= 0).any():
        return out
    first, last = _margins(analysis, start, stop)
    squares = face_squares(convert(analysis.landmarks(first, last), analysis.landmark_scheme, IBUG68))
    times, shots = analysis.source.times(first, last), analysis.shots(first, last).copy()
    shots[~np.isfinite(squares).all(axis=1)] = -1
    for row, here in enumerate(range(start - first, stop - first)):
        if shots[here] < 0:
            continue
        near = slice(
            int(np.searchsorted(times, times[here] - SMOOTHING, "right")),
            int(np.searchsorted(times, times[here] + SMOOTHING, "left")),
        )
        same = np.flatnonzero(shots[near] == shots[here]) + near.start
        weights = np.cos((times[same] - times[here]) * (np.pi / 2 / SMOOTHING)) ** 2
        # The mean of differences is exactly zero for a head that keeps still, however many frames are near.
        moved = weights[:, None] * (squares[same] - squares[here])
        out[row] = squares[here] + moved.sum(axis=0) / weights.sum()
    return out


def _margins(analysis: Analysis, start: int, stop: int) -> tuple[int, int]:
    """The frames that those of [start, stop) are smoothed with, and maybe some more."""
    source = analysis.source
    count = source.info.frame_count
    earliest = float(source.times(start, start + 1)[0]) - SMOOTHING
    latest = float(source.times(stop - 1, stop)[0]) + SMOOTHING
    first, last, step = start, stop, 32
    while first > 0 and float(source.times(first, first + 1)[0]) > earliest:
        first = max(0, first - step)
    while last < count and float(source.times(last - 1, last)[0]) < latest:
        last = min(count, last + step)
    return first, last


def _mean(points: NDArray[np.float64]) -> NDArray[np.float64]:
    # Added one after the other: numpy may add in another order for another number of rows.
    total = points[:, 0]
    for index in range(1, points.shape[1]):
        total = total + points[:, index]
    return total / points.shape[1]


def _length(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hypot(vectors[:, 0], vectors[:, 1])
