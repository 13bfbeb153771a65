"""FAN landmarks (68 points) for a face box.

FAN (Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D face alignment problem?", ICCV 2017) predicts one
heat map per landmark from a square image region around the face box.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from face_alignment.utils import CENTER_Y_OFFSET, HEATMAP_RESOLUTION, REFERENCE_SCALE, SCALE_FACTOR, crop, flip
from numpy.typing import NDArray
from retalkit.inference import CompiledNetwork

Image = NDArray[np.uint8]
Float = NDArray[np.float64]

REFINEMENT: Final = 0.25
"""Sub-cell shift of a landmark from the heat map peak towards the neighbour with the higher value, in cells.

Reference: Newell et al., "Stacked hourglass networks", ECCV 2016.
"""


def fan_square(box: Float) -> tuple[Float, float]:
    """Return the centre, float64 [2], and the scale of FAN's input square for a box (left, top, right, bottom).

    The side of the square is 200 times the scale.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2 - height * CENTER_Y_OFFSET])
    return centre, float(width + height) / REFERENCE_SCALE


def peaks(heat: NDArray[np.float32]) -> Float:
    """Return the peaks (x, y) of heat maps, float32 [N, S, S], as float64 [N, 2] in cells from the map border.

    The result is identical to that of the library's ``get_preds_fromhm``. The library's function is not used, because
    numba compiles it in every process, which delays the first face by 5 s.
    """
    count, rows, columns = heat.shape
    index = heat.reshape(count, -1).argmax(1)
    y, x = index // columns, index % columns
    inside = (x > 0) & (x < columns - 1) & (y > 0) & (y < rows - 1)
    # A border peak has no neighbour on one side. Clipping the index only prevents an out-of-bounds access.
    near_y, near_x, number = np.clip(y, 1, rows - 2), np.clip(x, 1, columns - 2), np.arange(count)
    slope_x = heat[number, near_y, near_x + 1] - heat[number, near_y, near_x - 1]
    slope_y = heat[number, near_y + 1, near_x] - heat[number, near_y - 1, near_x]
    shift = np.sign(np.stack([slope_x, slope_y], 1)) * inside[:, None]
    return np.stack([x, y], 1) + 0.5 + REFINEMENT * shift


def to_frame(cells: Float, centre: Float, scale: float, size: int = HEATMAP_RESOLUTION) -> Float:
    """Return frame positions in pixels for positions [N, 2] in cells of a heat map with side ``size``.

    The coordinate 0 is the first pixel's centre. The library truncates the positions to integer pixels. This function
    preserves the fractional part, because truncated landmarks jitter by whole pixels.
    """
    return centre + (cells / size - 0.5) * (SCALE_FACTOR * scale) - 0.5


def heat_maps(image: Image, centre: Float, scale: float, network: CompiledNetwork, mirrored: bool) -> torch.Tensor:
    """Return heat maps, float32 [68, 64, 64], for a square region of the frame.

    If ``mirrored`` is true, the heat maps of the mirrored region are added to the result.
    """
    face = np.ascontiguousarray(crop(image, centre, scale).transpose(2, 0, 1), np.float32) / 255
    pixels = torch.from_numpy(face)[None]
    heat = network(pixels)[-1]
    if mirrored:
        heat = heat + flip(network(flip(pixels))[-1], is_label=True)
    return heat[0]


def find_landmarks(image: Image, box: Float, network: CompiledNetwork, mirrored: bool) -> NDArray[np.float32]:
    """Return landmarks in frame pixels with z = 0, float32 [68, 3].

    ``image``: RGB uint8 [H, W, 3]. ``box``: face box [4].
    """
    centre, scale = fan_square(box)
    heat = heat_maps(image, centre, scale, network, mirrored)
    points = to_frame(peaks(heat.numpy()), centre, scale, heat.shape[-1])
    return np.concatenate([points, np.zeros((len(points), 1))], 1).astype(np.float32)
