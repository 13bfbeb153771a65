"""Preprocessing of S3FD's input images, and decoding of S3FD's output maps to face boxes.

S3FD (Zhang et al., "S3FD: single shot scale-invariant face detector", ICCV 2017) has one square anchor at each position
of six maps. The map strides are 4 to 128 pixels, and the side of each anchor is four times the stride.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import cv2
import numpy as np
import torch
from face_alignment.detection.sfd.bbox import decode, nms
from numpy.typing import NDArray
from retalkit.inference import CompiledNetwork
from torch.nn import functional

Image = NDArray[np.uint8]
Float = NDArray[np.float64]

MEAN: Final = (104.0, 117.0, 123.0)
"""Mean colour (BGR) of S3FD's training images."""
FIRST_STRIDE: Final = 4
ANCHOR: Final = 4
"""Anchor side in units of the map stride."""
VARIANCES: Final = [0.1, 0.2]
"""Scale factors of S3FD's position offsets and log-size offsets, relative to the anchor."""
MAX_OVERLAP: Final = 0.3
"""Intersection over union above which non-maximum suppression discards the box with the lower score."""
CANDIDATES: Final = 1000
"""Maximum number of boxes that are passed to non-maximum suppression.

S3FD returns dozens of boxes per face. An untrained network returns many thousands of boxes.
"""
SMALLEST_IMAGE: Final = 32
"""Minimum image side in pixels. S3FD halves its input five times."""
SMALLEST_FACE: Final = 8.0
"""Minimum sum of a box's width and height, in frame pixels, for fitting landmarks."""


def search_sides(longest: int, first: int, last: int) -> Iterator[int]:
    """Yield the longer side of each downscaled image in which faces are searched.

    ``longest``: longer side of the frame. The first side is ``first``. The side is doubled until it reaches ``last``.
    No side exceeds ``longest``, and the function yields at least one side.
    """
    side, last = min(first, longest), min(max(first, last), longest)
    yield side
    while side < last:
        side = min(2 * side, last)
        yield side


def shrink(image: Image, side: int) -> Image:
    """Return the frame [H, W, 3], downscaled by area averaging to the longer side ``side``.

    Smaller frames are returned at their original size.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def to_tensor(image: Image) -> torch.Tensor:
    """Return S3FD's input, float32 [1, 3, h, w], for an RGB image, uint8 [h, w, 3].

    Images with sides below 32 pixels are padded with the mean colour.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).float()
    pixels = (pixels - torch.tensor(MEAN)).permute(2, 0, 1)[None]
    right, below = (max(0, SMALLEST_IMAGE - size) for size in (image.shape[1], image.shape[0]))
    return functional.pad(pixels, (0, right, 0, below)) if right or below else pixels


def decode_boxes(maps: Sequence[torch.Tensor], min_score: float) -> Float:
    """Return boxes (left, top, right, bottom, score) in descending score order, float64 [N, 5].

    ``maps``: network outputs for one image. The coordinates refer to pixel edges in the image. Offset decoding and
    non-maximum suppression are equivalent to the library's implementation, whose loop over positions is vectorised
    here. Boxes with a low score are discarded before the suppression instead of after it. The order does not affect the
    result, because a box never suppresses a box with a higher score.
    """
    found: list[Float] = []
    for level in range(len(maps) // 2):
        score = functional.softmax(maps[2 * level][0].float(), 0)[1].cpu().numpy()
        offsets = maps[2 * level + 1][0].float().cpu().numpy()
        rows, columns = np.nonzero(score > min_score)
        stride = FIRST_STRIDE << level
        centres = (np.stack([columns, rows], 1) + 0.5) * stride
        anchors = np.concatenate([centres, np.full_like(centres, ANCHOR * stride)], 1)
        with np.errstate(over="ignore", invalid="ignore"):
            boxes = decode(offsets[:, rows, columns].T.astype(np.float64), anchors, VARIANCES)
        found.append(np.concatenate([boxes, score[rows, columns, None]], 1))
    candidates = np.concatenate(found) if found else np.zeros((0, 5))
    candidates = candidates[np.isfinite(candidates).all(1)]
    candidates = candidates[np.argsort(-candidates[:, 4], kind="stable")][:CANDIDATES]
    return candidates[nms(candidates, MAX_OVERLAP)]


def plausible(boxes: Float, width: int, height: int) -> Float:
    """Return the subset of boxes [N, 5] whose position and size are plausible for a ``width`` x ``height`` frame.

    The centre of a plausible box is inside the frame, and the box's sides are at most twice the frame's longer side.
    """
    size = boxes[:, 2:4] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2
    inside = ((centre >= 0) & (centre < (width, height))).all(1)
    fitting = (size.max(1, initial=0) <= 2 * max(width, height)) & (size.sum(1) >= SMALLEST_FACE)
    return boxes[inside & fitting]


def find_boxes(image: Image, network: CompiledNetwork, sides: Iterable[int], min_score: float) -> Float:
    """Return boxes in frame pixels with scores, float64 [N, 5], from the first search side with a detected face."""
    height, width = image.shape[:2]
    for side in sides:
        small = shrink(image, side)
        boxes = decode_boxes(network(to_tensor(small)), min_score)
        x_scale, y_scale = width / small.shape[1], height / small.shape[0]
        boxes = plausible(boxes * (x_scale, y_scale, x_scale, y_scale, 1.0), width, height)
        if len(boxes):
            return boxes
    return np.zeros((0, 5))
