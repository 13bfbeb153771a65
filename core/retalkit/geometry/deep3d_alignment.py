"""Alignment of a face to standard 3D landmarks, following the published 3D face reconstruction method.

A weak-perspective fit of the standard face to five points determines the crop's scale and position. The method is
described in Deng et al., "Accurate 3D face reconstruction with weakly-supervised learning", CVPR Workshops 2019.
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
"""Side length of an aligned face in pixels."""

_STANDARD_SCALE: Final = 102.0
"""Scale of the aligned image in pixels per unit of the standard landmarks."""
_SMALLEST_SCALE: Final = 4.0
"""Minimum face scale in pixels per unit of the standard landmarks. One unit is approximately the distance from the eyes
to the chin. A smaller face would be enlarged by a factor of more than 25.
"""
_EYE_CORNERS: Final = ((36, 39), (42, 45))


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """Face image with the position and scale that the reconstruction network expects."""

    image: NDArray[np.uint8]
    """Aligned image, uint8 [224, 224, 3], in the channel order of the input image. Pixels outside the input image are
    black.
    """
    landmarks: NDArray[np.float64]
    """Input landmarks in pixels of ``image``, float64 [N, 2]. The y axis points up, with the origin at the lower
    border.
    """
    parameters: NDArray[np.float32]
    """Alignment parameters in pixels of the input image, float32 [5].

    Values: the input image's width and height, the scale, and the origin of the standard face (x to the right, y
    upwards from the last pixel row). The alignment parameters are the last five ``bfm257`` coefficients.
    """


def five_points(landmarks: Points) -> NDArray[np.float64]:
    """Compute five points, float64 [5, D], from ibug68 landmarks [68, D].

    The points are the midpoint of each eye's corners, the nose tip and the mouth corners. In the scheme ``points5``, by
    contrast, each eye centre is the mean of all eye points.
    """
    points = np.asarray(landmarks, np.float64)
    eyes = [(points[one] + points[other]) / 2 for one, other in _EYE_CORNERS]
    return np.stack([*eyes, points[IBUG_NOSE_TIP], *(points[corner] for corner in IBUG_CORNERS)])


def weak_perspective(points: Points, model: Points) -> tuple[NDArray[np.float64], float]:
    """Fit a model [N, 3] to points [N, 2] by least squares. Return the origin (float64 [2]) and the scale.

    The two rows of the linear map are unconstrained, and the scale is the mean of their norms.
    """
    unknowns = np.column_stack([np.asarray(model, np.float64), np.ones(len(model))])
    solution = np.linalg.lstsq(unknowns, np.asarray(points, np.float64), rcond=None)[0]
    return solution[3], float(np.linalg.norm(solution[:3], axis=0).mean())


def align_face(image: NDArray[np.uint8], landmarks: Points, standard: Points) -> AlignedFace | None:
    """Crop a face from ``image`` (uint8 [H, W, 3]) based on its landmarks and the standard landmarks.

    ``landmarks``: [68, 2 or more] or [5, 2 or more], in pixels, y down. ``standard``: [68, 3] or [5, 3], in units of
    the face model, y up. The function returns None if a point is not finite, the points nearly coincide, or the points
    are so far apart that less than one pixel of the image would remain.
    """
    height, width = image.shape[:2]
    points = np.asarray(landmarks, np.float64)[:, :2] * (1, -1) + (0, height - 1)
    if not np.isfinite(points).all():
        return None
    origin, fitted = weak_perspective(_five(points), _five(standard))
    if fitted < _SMALLEST_SCALE:
        return None
    scale = _STANDARD_SCALE / fitted
    size = (int(width * scale), int(height * scale))
    if min(size) < 1:
        return None
    centred = np.array(size) / 2 - ALIGNED_SIZE / 2
    shift = (origin - (width / 2, height / 2)) * scale * (1, -1)
    left, top = (int(edge) for edge in centred + shift)
    aligned = (points - origin + (width / 2, height / 2)) * scale - centred
    parameters = np.array([width, height, scale, *origin], np.float32)
    # Pillow is used to match the published code. Bicubic downsampling differs between libraries.
    resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    crop = np.asarray(resized.crop((left, top, left + ALIGNED_SIZE, top + ALIGNED_SIZE)))
    return AlignedFace(crop, aligned, parameters)


def _five(points: Points) -> Points:
    return points if len(points) == 5 else five_points(points)
