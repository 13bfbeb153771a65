"""Synthetic faces (green boxes with 68 dots) and fake S3FD and FAN networks that detect them."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from face_alignment.detection.sfd.bbox import encode
from numpy.typing import NDArray
from retalkit_detectors.face_alignment.boxes import MEAN, VARIANCES
from retalkit_detectors.face_alignment.networks import Networks
from torch.nn import functional

Image = NDArray[np.uint8]
Float = NDArray[np.float64]

COLUMNS, ROWS, POINTS = 9, 8, 68
LEVELS = torch.arange(POINTS) * 3.0 + 20


def draw_face(image: Image, left: int, top: int, width: int, height: int) -> Float:
    """Draw a face and return the centres of its 68 dots in pixels, float64 [68, 2].

    The dots have random offsets, so that their positions within the cells of a heat map differ.
    """
    image[top : top + height, left : left + width] = (0, 255, 0)
    pitch = min(width // COLUMNS, height // ROWS)
    size = pitch * 3 // 5
    shifts = np.random.default_rng(0).integers(-(pitch - size) // 2 + 1, (pitch - size) // 2 + 1, (POINTS, 2))
    points: list[tuple[float, float]] = []
    for number in range(POINTS):
        row, column = divmod(number, COLUMNS)
        x = left + (2 * column + 1) * width // (2 * COLUMNS) - size // 2
        y = top + (2 * row + 1) * height // (2 * ROWS) - size // 2
        x, y = int(x + shifts[number, 0]), int(y + shifts[number, 1])
        image[y : y + size, x : x + size] = (int(LEVELS[number]), 0, 255)
        points.append((x + (size - 1) / 2, y + (size - 1) / 2))
    return np.array(points)


@dataclass
class FakeS3fd:
    """Detects green boxes like S3FD: each box twice, at neighbouring anchors with scores 0.99 and 0.9."""

    smallest: int = 16
    image_sizes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Height and width of each input."""

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        height, width = images.shape[2:]
        self.image_sizes.append((height, width))
        colours = images[0].permute(1, 2, 0).numpy() + MEAN
        green = ((colours[..., 1] > 128) & (colours[..., 2] < 128) & (colours[..., 0] < 128)).astype(np.uint8)
        maps = blank_maps(height, width)
        for x, y, across, down, _ in cv2.connectedComponentsWithStats(green)[2][1:]:
            if min(across, down) >= self.smallest:
                write_face(maps, np.array([x, y, x + across, y + down], np.float64))
        return maps


def blank_maps(height: int, width: int) -> list[torch.Tensor]:
    """Return S3FD's output maps for an image without a face."""
    maps: list[torch.Tensor] = []
    for level in range(6):
        rows, columns = (max(1, -(-size // (4 << level))) for size in (height, width))
        maps += [torch.zeros(1, 2, rows, columns), torch.zeros(1, 4, rows, columns)]
        maps[-2][:, 0] = 6.0
    return maps


def write_face(maps: list[torch.Tensor], box: Float, scores: tuple[float, ...] = (0.99, 0.9)) -> None:
    """Write a box (left, top, right, bottom) into the maps, once per score at neighbouring anchors."""
    side = float(np.mean(box[2:] - box[:2]))
    level = int(np.clip(round(np.log2(side / 16)), 0, 5))
    stride = 4 << level
    rows, columns = maps[2 * level].shape[2:]
    column, row = (np.minimum((box[:2] + box[2:]) / 2 // stride, (columns - 1, rows - 1))).astype(int)
    for number, score in enumerate(scores):
        anchor_column = max(column - number, 0) if column else min(column + number, columns - 1)
        anchor = np.array([[(anchor_column + 0.5) * stride, (row + 0.5) * stride, 4.0 * stride, 4.0 * stride]])
        maps[2 * level][0, :, row, anchor_column] = torch.tensor([0.0, np.log(score / (1 - score))])
        maps[2 * level + 1][0, :, row, anchor_column] = torch.from_numpy(encode(box[None], anchor, VARIANCES)[0])


def fake_fan(images: torch.Tensor) -> list[torch.Tensor]:
    """Return heat maps like FAN, one per colour, with the peak at the centre of the dot."""
    red, blue = images[:, 0, None] * 255, images[:, 2, None] * 255
    matches = ((red - LEVELS[None, :, None, None]).abs() < 1.5) & (blue > 250)
    heat = functional.avg_pool2d(matches.float(), 4)
    for _ in range(3):
        heat = functional.avg_pool2d(heat, 3, stride=1, padding=1)
    return [torch.zeros_like(heat), heat]


def fake_networks(**options: int) -> tuple[FakeS3fd, Networks]:
    """Return the fake S3FD, and both fakes as the networks of a session."""
    boxes = FakeS3fd(**options)
    return boxes, Networks(boxes, fake_fan)
