"""Least-squares similarity transform between two sets of corresponding points."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32] | NDArray[np.float64]

_SMALLEST_SPREAD = 1e-6
"""Minimum sum of squared distances to the mean. Points with a smaller sum are treated as coincident."""
_SMALLEST_SCALE = 1e-9


def fit_similarity(points: Points, target: Points) -> NDArray[np.float64] | None:
    """Estimate the similarity transform, float64 [D, D + 1], that maps ``points`` [N, D] to ``target`` [N, D].

    The function minimises the squared error over rotation, uniform scale and translation, without reflections. The
    function returns None if a coordinate is not finite, if the points coincide, or if D = 3 and N < 3.
    The estimator is that of Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", PAMI 1991, implemented by OpenCV for D = 3 and by scikit-image for D = 2.
    """
    source, wanted = np.asarray(points, np.float64), np.asarray(target, np.float64)
    if not (np.isfinite(source).all() and np.isfinite(wanted).all()):
        return None
    in_space = source.shape[1] == 3
    if (in_space and len(source) < 3) or np.square(source - source.mean(0)).sum() < _SMALLEST_SPREAD:
        return None
    matrix = _umeyama_3d(source, wanted) if in_space else _umeyama_2d(source, wanted)
    if not np.isfinite(matrix).all() or np.linalg.norm(matrix[:, :-1]) < _SMALLEST_SCALE:
        return None
    return matrix


def _umeyama_3d(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix, scale = cv2.estimateAffine3D(source, target, force_rotation=True)
    return np.hstack([matrix[:, :3] * scale, matrix[:, 3:]]).astype(np.float64, copy=False)


def _umeyama_2d(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    # The import is local because importing scikit-image takes 0.15 s.
    from skimage.transform import estimate_transform  # pyright: ignore[reportUnknownVariableType]

    fit: Any = estimate_transform("similarity", source, target)
    # A failed fit evaluates to False since scikit-image 0.26. Older versions return NaN.
    return np.asarray(fit.params, np.float64)[:-1] if fit else np.full((1, 1), np.nan)
