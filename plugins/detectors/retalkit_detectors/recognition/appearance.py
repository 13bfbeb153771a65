"""Recogniser ``appearance``, which compares face shapes and colours.

Hair and clothes identify a person within one video more reliably than the face shape does, but not across videos.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.pose import person_template
from retalkit.geometry.schemes import IBUG68, MESH478, POINTS5, convert, convertible
from retalkit.geometry.similarity import fit_similarity
from retalkit.stages import FaceImage, Runtime

Float = NDArray[np.float32]

SHAPE_SCALE: Final = 0.026
"""Root mean square distance of two face shapes, in units of the eye distance, that counts as much as the boundary."""
COLOUR_SCALES: Final = (5.6, 10.5, 12.0)
"""CIE Lab distances of skin, hair and clothes that count as much as the boundary.

With these scales, the distance of one person in different shots was at most 1.0 in measurements, and the distance of
two people was at least 1.1.
"""
PATCHES: Final = (((0.5, 0.62), (0.16, 0.1)), ((0.5, -0.14), (0.5, 0.1)), ((0.5, 1.45), (0.9, 0.16)))
"""Centres and half sizes of the patches of skin, hair and clothes, in units of the face box."""
_SIZE: Final = 24
"""Side of a patch in pixels after reduction."""
_STABLE_IBUG: Final = (*range(17, 48),)
"""Brows, nose and eyes, which do not depend on the mouth."""


class AppearanceRecogniser:
    """Recogniser whose descriptor contains three Lab colours and the normalised face shape."""

    def __init__(self, runtime: Runtime) -> None:
        pass

    def describe(self, face: FaceImage) -> Float | None:
        """Return the colours and the shape. A colour outside the frame is NaN. Return None if the landmarks cannot be
        converted to five points."""
        if POINTS5 not in convertible(face.landmark_scheme) or not np.isfinite(face.landmarks).all():
            return None
        shape = _face_shape(face)
        points = face.landmarks[:468, :2]
        low, high = points.min(0), points.max(0)
        colours = [_colour(face.image, low, high - low, centre, half) for centre, half in PATCHES]
        return np.concatenate([*colours, shape.ravel()]).astype(np.float32)

    def distance(self, one: Float, other: Float) -> float:
        """Return the root mean square of the distances of shape, skin, hair and clothes in units of their scales."""
        count = 3 * len(PATCHES)
        if one.shape != other.shape:
            return float("inf")
        shape = (one[count:] - other[count:]).reshape(-1, 2)
        parts = [float(np.sqrt((shape**2).sum(1).mean())) / SHAPE_SCALE]
        for number, scale in enumerate(COLOUR_SCALES):
            rows = slice(3 * number, 3 * number + 3)
            difference = float(np.linalg.norm(one[rows] - other[rows])) / scale
            if np.isfinite(difference):
                parts.append(difference)
        return float(np.sqrt(np.mean(np.square(parts))))


def _face_shape(face: FaceImage) -> Float:
    """Return the frontal face shape without the mouth, in units of the eye distance, float32 [N, 2]."""
    if face.landmark_scheme == MESH478:
        # The 3D mesh is turned to the front, so that the shape does not depend on the head pose.
        template = person_template(face.landmarks[None], rounds=1)
        return convert(template, MESH478, IBUG68)[list(_STABLE_IBUG), :2]
    if IBUG68 in convertible(face.landmark_scheme):
        points = convert(face.landmarks, face.landmark_scheme, IBUG68)[list(_STABLE_IBUG)]
    else:
        points = convert(face.landmarks, face.landmark_scheme, POINTS5)[:3]
    five = convert(face.landmarks, face.landmark_scheme, POINTS5)[:3, :2]
    matrix = fit_similarity(five, np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.55]], np.float32))
    if matrix is None:
        return np.zeros((len(points), 2), np.float32)
    return (points[:, :2] @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def _colour(
    image: NDArray[np.uint8], low: Float, size: Float, centre: tuple[float, float], half: tuple[float, float]
) -> Float:
    """Return the median Lab colour of a patch, float32 [3], or NaN if less than a quarter of it is in the frame."""
    middle, reach = low + size * np.array(centre), size * np.array(half)
    begin, end = np.floor(middle - reach).astype(int), np.ceil(middle + reach).astype(int)
    area = float(np.prod(end - begin))
    limit = np.array([image.shape[1], image.shape[0]])
    begin, end = np.clip(begin, 0, limit), np.clip(end, 0, limit)
    if (end - begin < 2).any() or np.prod(end - begin) < 0.25 * area:
        return np.full(3, np.nan, np.float32)
    patch = cv2.resize(image[begin[1] : end[1], begin[0] : end[0]], (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor((patch / np.float32(255)).astype(np.float32), cv2.COLOR_RGB2LAB)
    return np.median(lab.reshape(-1, 3), axis=0).astype(np.float32)
