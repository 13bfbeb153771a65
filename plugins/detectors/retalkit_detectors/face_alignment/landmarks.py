"""From a face's box to the 68 points of FAN.

FAN (Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D face alignment problem?", ICCV 2017) sees the
square around a box and draws one heat map for each point.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from face_alignment.utils import CENTER_Y_OFFSET, HEATMAP_RESOLUTION, REFERENCE_SCALE, SCALE_FACTOR, crop, flip
from numpy.typing import NDArray

from retalkit_detectors.face_alignment.networks import Network

Image = NDArray[np.uint8]
Float = NDArray[np.float64]

REFINEMENT: Final = 0.25
"""Cells by which a point leans to the higher neighbour of its heat map's peak (Newell et al., "Stacked hourglass
networks", ECCV 2016)."""


def square_of(box: Float) -> tuple[Float, float]:
    """Middle float64 [2] of the square that FAN sees for a box (left, top, right, bottom), and its scale:
    its side is 200 times that."""
    width, height = box[2] - box[0], box[3] - box[1]
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2 - height * CENTER_Y_OFFSET])
    return middle, float(width + height) / REFERENCE_SCALE


def peaks(heat: NDArray[np.float32]) -> Float:
    """Heat maps float32 [N, S, S] -> float64 [N, 2]: places of the peaks (x, y) in cells from the map's border.

    The numbers are those of the library's ``get_preds_fromhm``, which is not called because numba compiles it anew in
    every process: 5 s before the first face.
    """
    count, rows, columns = heat.shape
    index = heat.reshape(count, -1).argmax(1)
    y, x = index // columns, index % columns
    inside = (x > 0) & (x < columns - 1) & (y > 0) & (y < rows - 1)
    # At the border there is no neighbour to compare with; any place inside stands in for it and is not used.
    near_y, near_x, number = np.clip(y, 1, rows - 2), np.clip(x, 1, columns - 2), np.arange(count)
    slope_x = heat[number, near_y, near_x + 1] - heat[number, near_y, near_x - 1]
    slope_y = heat[number, near_y + 1, near_x] - heat[number, near_y - 1, near_x]
    lean = np.sign(np.stack([slope_x, slope_y], 1)) * inside[:, None]
    return np.stack([x, y], 1) + 0.5 + REFINEMENT * lean


def to_frame(cells: Float, middle: Float, scale: float, size: int = HEATMAP_RESOLUTION) -> Float:
    """Places [N, 2] in cells of a map of ``size`` -> pixels of the frame, where 0 is the middle of the first pixel.

    The library cuts off the fraction of a pixel, which is this within half a pixel; landmarks that jump by whole pixels
    tremble, so here it stays.
    """
    return middle + (cells / size - 0.5) * (SCALE_FACTOR * scale) - 0.5


def heat_maps(image: Image, middle: Float, scale: float, network: Network, device: str, mirrored: bool) -> torch.Tensor:
    """float32 [68, 64, 64]: heat maps of the face in a square of the frame; with those of its mirror image added."""
    face = np.ascontiguousarray(crop(image, middle, scale).transpose(2, 0, 1), np.float32) / 255
    picture = torch.from_numpy(face)[None].to(device)
    heat = network(picture)[-1]
    if mirrored:
        heat = heat + flip(network(flip(picture))[-1], is_label=True)
    return heat[0].float()


def find_landmarks(image: Image, box: Float, network: Network, device: str, mirrored: bool) -> NDArray[np.float32]:
    """float32 [68, 3] in pixels of the frame RGB uint8 [H, W, 3], z = 0, of the face in a box [4]."""
    middle, scale = square_of(box)
    heat = heat_maps(image, middle, scale, network, device, mirrored)
    points = to_frame(peaks(heat.cpu().numpy()), middle, scale, heat.shape[-1])
    return np.concatenate([points, np.zeros((len(points), 1))], 1).astype(np.float32)
