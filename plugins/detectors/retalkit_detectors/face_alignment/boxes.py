"""Input images of S3FD, and boxes from its output maps.

S3FD (Zhang et al., "S3FD: single shot scale-invariant face detector", ICCV 2017) has one square anchor at each
position of six maps: strides of 4 to 128 pixels, sides of four strides.
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
"""Side of an anchor in strides."""
VARIANCES: Final = [0.1, 0.2]
"""Units of S3FD's offsets: position and logarithm of the size, in anchors."""
MAX_OVERLAP: Final = 0.3
"""Intersection over union above which the weaker box is dropped."""
CANDIDATES: Final = 1000
"""Maximum number of boxes for non-maximum suppression: a face has some dozens, an untrained network many thousands."""
SMALLEST_IMAGE: Final = 32
"""Smallest side in pixels: the network halves its input five times."""
SMALLEST_FACE: Final = 8.0
"""Sum of width and height, in pixels of the frame, below which landmarks cannot be fitted."""


def search_sides(longest: int, first: int, last: int) -> Iterator[int]:
    """Yield the longer sides at which faces are searched in a frame with the longer side ``longest``.

    ``first``, then doubled up to ``last``; never above ``longest``, and at least one.
    """
    side, last = min(first, longest), min(max(first, last), longest)
    yield side
    while side < last:
        side = min(2 * side, last)
        yield side


def shrink(image: Image, side: int) -> Image:
    """Return the frame [H, W, 3] resized to the longer side ``side`` by area averaging; never enlarged."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def to_tensor(image: Image) -> torch.Tensor:
    """Return S3FD's input float32 [1, 3, h, w] for RGB uint8 [h, w, 3]; sides below 32 are padded with its mean."""
    pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).float()
    pixels = (pixels - torch.tensor(MEAN)).permute(2, 0, 1)[None]
    right, below = (max(0, SMALLEST_IMAGE - size) for size in (image.shape[1], image.shape[0]))
    return functional.pad(pixels, (0, right, 0, below)) if right or below else pixels


def decode_boxes(maps: Sequence[torch.Tensor], min_score: float) -> Float:
    """Return boxes float64 [N, 5]: left, top, right, bottom (edges, in pixels of the image) and score, best first.

    ``maps``: the network's outputs for one image. The decoding of offsets and the non-maximum suppression are the
    library's. Its loop over single positions is vectorised here, and boxes with a low score are dropped before the
    suppression instead of after it, which gives the same result: a weaker box never suppresses a better one.
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
    """Return the boxes [N, 5] that a face in a ``width`` x ``height`` frame can have.

    The centre is inside the frame, and no side exceeds twice the frame's longer side.
    """
    size = boxes[:, 2:4] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2
    inside = ((centre >= 0) & (centre < (width, height))).all(1)
    fitting = (size.max(1, initial=0) <= 2 * max(width, height)) & (size.sum(1) >= SMALLEST_FACE)
    return boxes[inside & fitting]


def find_boxes(image: Image, network: CompiledNetwork, sides: Iterable[int], min_score: float) -> Float:
    """Return boxes in pixels of the frame ``image`` and scores, float64 [N, 5], at the first side with a face."""
    height, width = image.shape[:2]
    for side in sides:
        small = shrink(image, side)
        boxes = decode_boxes(network(to_tensor(small)), min_score)
        x_scale, y_scale = width / small.shape[1], height / small.shape[0]
        boxes = plausible(boxes * (x_scale, y_scale, x_scale, y_scale, 1.0), width, height)
        if len(boxes):
            return boxes
    return np.zeros((0, 5))
