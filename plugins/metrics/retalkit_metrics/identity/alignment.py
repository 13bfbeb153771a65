"""Face alignment to the template that face recognition networks require."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.schemes import MESH478, POINTS5, convert
from retalkit.geometry.similarity import fit_similarity

TEMPLATE: Final = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Positions of the eyes, the nose tip and the mouth corners in pixels of a 112 x 112 image. The positions are from Liu
et al., "SphereFace: deep hypersphere embedding for face recognition", CVPR 2017, shifted by 8 pixels for the square
image.
"""
SIZE: Final = 112
MIN_SCALE: Final = 0.25
"""Minimum face size relative to the template. The value corresponds to an eye distance of 9 pixels."""


def aligned_face(image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Return the aligned face, uint8 [112, 112, 3], or None if the face is too small or has no landmarks.

    ``image``: RGB uint8 [H, W, 3]. ``landmarks``: [478, 3] in pixels. Pixels outside the frame are black.
    """
    points = convert(landmarks, MESH478, POINTS5)[:, :2].astype(np.float64)
    if not np.isfinite(points).all() or np.ptp(points, axis=0).max() < 1:
        return None
    matrix = fit_similarity(points, np.array(TEMPLATE))
    if matrix is None:
        return None
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale * MIN_SCALE > 1:
        return None
    if scale < 0.5:
        # Bilinear warping samples only four pixels. Large faces are therefore reduced before the warp to prevent
        # aliasing.
        image = cv2.resize(image, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
        matrix = fit_similarity((points + 0.5) * (2 * scale) - 0.5, np.array(TEMPLATE))
        assert matrix is not None
    return cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
