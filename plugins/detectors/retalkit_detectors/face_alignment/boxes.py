"""From a frame to S3FD's picture, and from S3FD's maps to boxes.

S3FD (Zhang et al., "S3FD: single shot scale-invariant face detector", ICCV 2017) judges at six levels one square
anchor for each place of a map: strides of 4 to 128 pixels, sides of four strides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import cv2
import numpy as np
import torch
from face_alignment.detection.sfd.bbox import decode, nms
from numpy.typing import NDArray
from torch.nn import functional

from retalkit_detectors.face_alignment.networks import Network

Image = NDArray[np.uint8]
Float = NDArray[np.float64]

MEAN: Final = (104.0, 117.0, 123.0)
"""Blue, green, red of the mean picture that S3FD was trained with."""
FIRST_STRIDE: Final = 4
ANCHOR: Final = 4
"""Side of an anchor in strides."""
VARIANCES: Final = [0.1, 0.2]
"""Units of S3FD's offsets: place and logarithm of the size, in anchors."""
SAME_FACE: Final = 0.3
"""Intersection over union above which the weaker box is dropped."""
CANDIDATES: Final = 1000
"""Boxes that are compared with each other, the best: a face has some dozens, an untrained network tens of thousands."""
SMALLEST_PICTURE: Final = 32
"""The network halves its input five times."""
SMALLEST_FACE: Final = 8.0
"""Sum of width and height in pixels of the frame below which there is nothing to fit landmarks to."""


def looks(longest: int, first: int, last: int) -> Iterator[int]:
    """Longer sides at which a frame, whose own is ``longest``, is looked at: ``first``, then twice that and so on up to
    ``last``; never above the frame's own, at least one."""
    side, last = min(first, longest), min(max(first, last), longest)
    yield side
    while side < last:
        side = min(2 * side, last)
        yield side


def picture_of(image: Image, side: int) -> Image:
    """The frame [H, W, 3] with its longer side ``side``, by area means."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def tensor_of(picture: Image, device: str) -> torch.Tensor:
    """RGB uint8 [h, w, 3] -> float32 [1, 3, h, w] as S3FD takes it; a side below 32 is filled up with its mean."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture[..., ::-1])).to(device).float()
    pixels = (pixels - torch.tensor(MEAN, device=device)).permute(2, 0, 1)[None]
    right, below = (max(0, SMALLEST_PICTURE - size) for size in (picture.shape[1], picture.shape[0]))
    return functional.pad(pixels, (0, right, 0, below)) if right or below else pixels


def boxes_of(maps: Sequence[torch.Tensor], min_score: float) -> Float:
    """float64 [N, 5] left, top, right, bottom (borders of pixels, in pixels of the picture) and score, best first.

    ``maps``: the network's answer to one picture. Of the library come the decoding of offsets and the suppression of
    doubles; its loop over places (one box at a time) is done for a level at once, and boxes that do not score enough
    are dropped before the suppression instead of after it, which changes nothing: a weaker box never drops a better.
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
    return candidates[nms(candidates, SAME_FACE)]


def usable(boxes: Float, width: int, height: int) -> Float:
    """Those of the boxes [N, 5] that a face in a frame of ``width`` x ``height`` can have: the middle lies inside, and
    no side is above twice the frame's longer one."""
    size = boxes[:, 2:4] - boxes[:, :2]
    middle = boxes[:, :2] + size / 2
    inside = ((middle >= 0) & (middle < (width, height))).all(1)
    fitting = (size.max(1, initial=0) <= 2 * max(width, height)) & (size.sum(1) >= SMALLEST_FACE)
    return boxes[inside & fitting]


def find_boxes(image: Image, network: Network, device: str, sides: Iterable[int], min_score: float) -> Float:
    """float64 [N, 5] boxes in pixels of the frame ``image`` and scores, from the first look that shows any."""
    height, width = image.shape[:2]
    for side in sides:
        picture = picture_of(image, side)
        boxes = boxes_of(network(tensor_of(picture, device)), min_score)
        across, down = width / picture.shape[1], height / picture.shape[0]
        boxes = usable(boxes * (across, down, across, down, 1.0), width, height)
        if len(boxes):
            return boxes
    return np.zeros((0, 5))
