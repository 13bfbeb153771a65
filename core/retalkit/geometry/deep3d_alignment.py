"""Alignment of a face to standard 3D landmarks, as the published face reconstruction takes it.

Deng et al., "Accurate 3D face reconstruction with weakly-supervised learning", CVPR Workshops 2019: a weak-perspective
fit of the standard face to five points gives the scale and the place at which the picture is cut out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retalkit.geometry.schemes import IBUG_CORNERS, IBUG_NOSE_TIP

Points = NDArray[np.float32] | NDArray[np.float64]

ALIGNED_SIZE: Final = 224
"""Pixels a side of an aligned face."""

_STANDARD_SCALE: Final = 102.0
"""Pixels of the aligned picture for a unit of the standard landmarks."""
_SMALLEST: Final = 4.0
"""Pixels for a unit of the standard landmarks, about the distance from the eyes to the chin, that a face needs. A face
that is smaller would be read off a few pixels, and the picture would have to grow by more than 25."""
_EYE_CORNERS: Final = ((36, 39), (42, 45))


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """A face at the place and size where the network expects it."""

    image: NDArray[np.uint8]
    """uint8 [224, 224, 3], in the order of channels of the picture it was cut from; black outside that picture."""
    landmarks: NDArray[np.float64]
    """float64 [N, 2]: the given points in ``image``, in pixels, y counted upwards from its lower border."""
    parameters: NDArray[np.float32]
    """float32 [5]: width and height of the picture, scale, and the place of the standard face's origin in the picture
    (x to the right, y upwards from the last row), all in its pixels. The last five of the coefficients ``bfm257``."""


def five_points(landmarks: Points) -> NDArray[np.float64]:
    """ibug68 [68, D] -> float64 [5, D]: middle between the corners of each eye, nose tip, mouth corners.

    Unlike the scheme ``points5``, whose eyes are the mean of all their points.
    """
    points = np.asarray(landmarks, np.float64)
    eyes = [(points[one] + points[other]) / 2 for one, other in _EYE_CORNERS]
    return np.stack([*eyes, points[IBUG_NOSE_TIP], *(points[corner] for corner in IBUG_CORNERS)])


def weak_perspective(points: Points, model: Points) -> tuple[NDArray[np.float64], float]:
    """Least-squares fit of a model [N, 3] to points [N, 2]: where its origin falls (float64 [2]) and its scale.

    The two rows of the linear map are free, and the scale is the mean of their lengths.
    """
    unknowns = np.column_stack([np.asarray(model, np.float64), np.ones(len(model))])
    solution = np.linalg.lstsq(unknowns, np.asarray(points, np.float64), rcond=None)[0]
    return solution[3], float(np.linalg.norm(solution[:3], axis=0).mean())


def align_face(image: NDArray[np.uint8], landmarks: Points, standard: Points) -> AlignedFace | None:
    """Cuts a face out of ``image`` uint8 [H, W, 3] by its landmarks [68, 2 or more] or [5, 2 or more] (pixels, y down)
    and the standard landmarks [68, 3] or [5, 3] (units of the face model, y up).

    None where the points make no face: not finite, almost on one spot, or so large that nothing of the picture is left.
    """
    height, width = image.shape[:2]
    points = np.asarray(landmarks, np.float64)[:, :2] * (1, -1) + (0, height - 1)
    if not np.isfinite(points).all():
        return None
    place, fitted = weak_perspective(_five(points), _five(standard))
    if fitted < _SMALLEST:
        return None
    scale = _STANDARD_SCALE / fitted
    size = (int(width * scale), int(height * scale))
    if min(size) < 1:
        return None
    middle = np.array(size) / 2 - ALIGNED_SIZE / 2
    shift = (place - (width / 2, height / 2)) * scale * (1, -1)
    left, top = (int(edge) for edge in middle + shift)
    aligned = (points - place + (width / 2, height / 2)) * scale - middle
    parameters = np.array([width, height, scale, *place], np.float32)
    # By Pillow, as published: another library's bicubic reduction gives other numbers.
    resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    cut = np.asarray(resized.crop((left, top, left + ALIGNED_SIZE, top + ALIGNED_SIZE)))
    return AlignedFace(cut, aligned, parameters)


def _five(points: Points) -> Points:
    return points if len(points) == 5 else five_points(points)
