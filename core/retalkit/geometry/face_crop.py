"""Square face crops for the published networks.

The square is the FFHQ square (Karras et al., "A style-based generator architecture for generative adversarial
networks", CVPR 2019, appendix A), but axis-aligned instead of rotated. VideoReTalking computes the square in the first
frame and uses that square for the whole video. In this implementation, the square follows the head and is smoothed
within each shot.
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
"""Side length of the resized crop in pixels, which matches the input size of the published reconstructor and expression
editor."""
SMOOTHING: Final = 1.0
"""Half width of the smoothing window in seconds. The crop box is a weighted mean over neighbouring frames. The weight
is 0.5 at half of ``SMOOTHING`` and 0 at ``SMOOTHING``.
"""

_CHUNK: Final = 256
"""Number of frames whose landmarks are kept in memory at a time. A chunk of mesh landmarks requires 1.4 MB."""


def face_squares(landmarks: Points) -> NDArray[np.float64]:
    """Compute face squares from ibug68 landmarks [T, 68, 2 or 3] in pixels, y down.

    Each square consists of centre x, centre y and half side. The half side is |a| + |b|, where (a, b) is a half axis of
    the rotated FFHQ square, so that the axis-aligned square is the bounding box of the rotated square. Returns float64
    [T, 3]. Frames with NaN landmarks have NaN squares. Each frame is processed independently.
    """
    points = np.asarray(landmarks, np.float64)[..., :2]
    left, right = _mean(points[:, IBUG_LEFT_EYE]), _mean(points[:, IBUG_RIGHT_EYE])
    eyes = (left + right) * 0.5
    across = right - left
    down = (points[:, IBUG_CORNERS[0]] + points[:, IBUG_CORNERS[1]]) * 0.5 - eyes
    axis = across - down[:, ::-1] * (-1.0, 1.0)
    length = np.maximum(_length(across) * 2.0, _length(down) * 1.8)
    # Coincident points define no direction and therefore result in an empty square.
    axis = axis / np.maximum(_length(axis), np.finfo(np.float64).tiny)[:, None] * length[:, None]
    centre = eyes + down * 0.1
    half = np.abs(axis).sum(axis=1, keepdims=True)
    return np.concatenate([centre, half], axis=1)


def square_boxes(squares: NDArray[np.float64], width: int, height: int) -> NDArray[np.float32]:
    """Convert squares [T, 3] from ``face_squares`` to rounded boxes, clipped to a ``width`` x ``height`` frame.

    Returns float32 [T, 4] with integer values: left, top, right, bottom in pixels (right and bottom exclusive). NaN
    squares and squares that cover less than one pixel of the frame result in NaN boxes.
    """
    half = squares[:, 2:]
    edges = np.floor(np.concatenate([squares[:, :2] - half, squares[:, :2] + half], axis=1) + 0.5)
    boxes = np.clip(edges, 0.0, (width, height, width, height)).astype(np.float32)
    boxes[~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)] = np.nan
    return boxes


def crop_boxes(analysis: Analysis, start: int, stop: int) -> NDArray[np.float32]:
    """Return the crop boxes of source frames [start, stop), float32 [T, 4] with integer values, clipped to the frame.

    Each box is left, top, right, bottom in pixels (right and bottom exclusive). Frames without a face have NaN boxes.
    Centre and size are smoothed over ``SMOOTHING`` seconds within a shot. A frame's box does not depend on the
    requested range, and a stationary head has a constant box.

    Raises:
        PlanError: the landmarks cannot be converted to ibug68.
    """
    info = analysis.source.info
    out = np.full((stop - start, 3), np.nan)
    for first in range(start, stop, _CHUNK):
        last = min(first + _CHUNK, stop)
        out[first - start : last - start] = _smoothed(analysis, first, last)
    return square_boxes(out, info.width, info.height)


def crop_boxes_at(analysis: Analysis, indexes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the crop boxes, float32 [T, 4], of source frames int64 [T]. Indexes may be unordered and repeated."""
    frames, positions = np.unique(indexes, return_inverse=True)
    runs = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
    boxes = [crop_boxes(analysis, int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
    return np.concatenate(boxes)[positions] if boxes else np.empty((0, 4), np.float32)


def crop_face(image: NDArray[np.uint8], box: NDArray[np.float32], size: int = CROP_SIZE) -> NDArray[np.uint8]:
    """Crop ``box`` (finite, from ``crop_boxes``) from a frame uint8 [H, W, 3] and resize the crop to uint8 [size, size,
    3].

    Interpolation is bilinear to match the published pipeline.
    """
    left, top, right, bottom = (int(edge) for edge in box)
    resized = cv2.resize(image[top:bottom, left:right], (size, size), interpolation=cv2.INTER_LINEAR)
    return resized.astype(np.uint8, copy=False)


def points_in_crop(points: Points, box: NDArray[np.float32], size: int = CROP_SIZE) -> NDArray[np.float64]:
    """Convert points [..., 2 or more] from frame pixels to ``crop_face`` pixels, float64 [..., 2]."""
    corner, extent = np.asarray(box[:2], np.float64), np.asarray(box[2:] - box[:2], np.float64)
    return (np.asarray(points, np.float64)[..., :2] - corner + 0.5) * (size / extent) - 0.5


def crop_matrix(box: NDArray[np.float32], size: int = CROP_SIZE) -> NDArray[np.float32]:
    """Return the affine map from frame pixel centres to ``crop_face`` pixel centres, float32 [2, 3].

    The map follows the convention of ``FaceEdit.matrix``.
    """
    corner, extent = np.asarray(box[:2], np.float64), np.asarray(box[2:] - box[:2], np.float64)
    scale = size / extent
    return np.column_stack([np.diag(scale), (0.5 - corner) * scale - 0.5]).astype(np.float32)


def _smoothed(analysis: Analysis, start: int, stop: int) -> NDArray[np.float64]:
    """Return smoothed squares, float64 [T, 3], of source frames [start, stop)."""
    out = np.full((stop - start, 3), np.nan)
    if not (analysis.tracks(start, stop) >= 0).any():
        return out
    first, last = _margins(analysis, start, stop)
    squares = face_squares(convert(analysis.landmarks(first, last), analysis.landmark_scheme, IBUG68))
    times, shots = analysis.source.times(first, last), analysis.tracks(first, last).copy()
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
        # The mean of differences is exactly zero for a stationary head.
        moved = weights[:, None] * (squares[same] - squares[here])
        out[row] = squares[here] + moved.sum(axis=0) / weights.sum()
    return out


def _margins(analysis: Analysis, start: int, stop: int) -> tuple[int, int]:
    """Return a frame range that contains all frames required to smooth [start, stop)."""
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
    # Points are added in sequence because NumPy's summation order may depend on the array shape.
    total = points[:, 0]
    for index in range(1, points.shape[1]):
        total = total + points[:, index]
    return total / points.shape[1]


def _length(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hypot(vectors[:, 0], vectors[:, 1])
