"""Faces that need no trained network: green boxes with 68 dots, and stand-ins for S3FD and FAN that see them."""

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


def paint(image: Image, left: int, top: int, width: int, height: int) -> Float:
    """Draws a face; gives its 68 points float64 [68, 2], middles of the dots in pixels.

    The dots lie a little off their grid, or all would lie alike in the cells of a heat map.
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
class GreenBoxes:
    """Answers like S3FD where the picture is green: each box twice, at neighbouring places with scores 0.99 and 0.9."""

    smallest: int = 16
    pictures: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Height and width of what it was shown."""

    def __call__(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        height, width = pictures.shape[2:]
        self.pictures.append((height, width))
        colours = pictures[0].permute(1, 2, 0).numpy() + MEAN
        green = ((colours[..., 1] > 128) & (colours[..., 2] < 128) & (colours[..., 0] < 128)).astype(np.uint8)
        maps = blank_maps(height, width)
        for x, y, across, down, _ in cv2.connectedComponentsWithStats(green)[2][1:]:
            if min(across, down) >= self.smallest:
                write_face(maps, np.array([x, y, x + across, y + down], np.float64))
        return maps


def blank_maps(height: int, width: int) -> list[torch.Tensor]:
    """S3FD's answer to a picture without a face."""
    maps: list[torch.Tensor] = []
    for level in range(6):
        rows, columns = (max(1, -(-size // (4 << level))) for size in (height, width))
        maps += [torch.zeros(1, 2, rows, columns), torch.zeros(1, 4, rows, columns)]
        maps[-2][:, 0] = 6.0
    return maps


def write_face(maps: list[torch.Tensor], box: Float, scores: tuple[float, ...] = (0.99, 0.9)) -> None:
    """Writes a box (left, top, right, bottom) into the maps, with each score at a place of its own."""
    side = float(np.mean(box[2:] - box[:2]))
    level = int(np.clip(round(np.log2(side / 16)), 0, 5))
    stride = 4 << level
    rows, columns = maps[2 * level].shape[2:]
    column, row = (np.minimum((box[:2] + box[2:]) / 2 // stride, (columns - 1, rows - 1))).astype(int)
    for number, score in enumerate(scores):
        place = max(column - number, 0) if column else min(column + number, columns - 1)
        anchor = np.array([[(place + 0.5) * stride, (row + 0.5) * stride, 4.0 * stride, 4.0 * stride]])
        maps[2 * level][0, :, row, place] = torch.tensor([0.0, np.log(score / (1 - score))])
        maps[2 * level + 1][0, :, row, place] = torch.from_numpy(encode(box[None], anchor, VARIANCES)[0])


def dots(pictures: torch.Tensor) -> list[torch.Tensor]:
    """Answers like FAN: for each colour a heat map whose peak is the middle of the dot."""
    red, blue = pictures[:, 0, None] * 255, pictures[:, 2, None] * 255
    seen = ((red - LEVELS[None, :, None, None]).abs() < 1.5) & (blue > 250)
    heat = functional.avg_pool2d(seen.float(), 4)
    for _ in range(3):
        heat = functional.avg_pool2d(heat, 3, stride=1, padding=1)
    return [torch.zeros_like(heat), heat]


def stand_ins(**options: int) -> tuple[GreenBoxes, Networks]:
    """Both stand-ins, and them as the networks of a session."""
    boxes = GreenBoxes(**options)
    return boxes, Networks(boxes, dots)
