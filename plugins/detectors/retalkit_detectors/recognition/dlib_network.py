"""Recogniser ``dlib``, which uses dlib's face recognition network.

Reference: King, "High quality face recognition with deep metric learning", dlib.net, 2017. Two faces belong to one
person if the distance of two single descriptors is below 0.6. Means of several descriptors are closer to each other.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import PlanError
from retalkit.geometry.schemes import IBUG68, POINTS5, convert, convertible
from retalkit.stages import FaceImage, Runtime

Float = NDArray[np.float32]

BOUNDARY: Final = 0.5
"""Distance of the mean descriptors of two tracks at which one person and two people are about equally probable.

In measurements, the distance was at most 0.37 for one person in different shots and at least 0.59 for two people.
"""
MIN_EYE_DISTANCE: Final = 12.0
"""Minimum distance of the eyes in pixels."""
MARGIN: Final = 0.8
"""Margin around the landmarks that dlib receives, in units of the face's larger side."""
_FILE: Final = "models/dlib_face_recognition_resnet_model_v1.dat"


class DlibRecogniser:
    """Recogniser with a residual network of 29 layers and descriptors of 128 values."""

    def __init__(self, runtime: Runtime) -> None:
        """Load the network. Raises PlanError if the installed package does not contain the network."""
        import dlib  # pyright: ignore[reportMissingImports]

        path = model_file()
        self._dlib: Any = dlib
        self._network: Any = runtime.shared((path.name, path), lambda: self._dlib.face_recognition_model_v1(str(path)))

    def describe(self, face: FaceImage) -> Float | None:
        """Return the descriptor, float32 [128], or None if the face is too small or the scheme is not convertible to
        ibug68. dlib aligns the face."""
        if IBUG68 not in convertible(face.landmark_scheme) or not np.isfinite(face.landmarks).all():
            return None
        points = convert(face.landmarks, face.landmark_scheme, IBUG68)[:, :2]
        eyes = convert(points, IBUG68, POINTS5)[:2]
        if np.linalg.norm(eyes[1] - eyes[0]) < MIN_EYE_DISTANCE:
            return None
        low, high = points.min(0), points.max(0)
        margin = MARGIN * float((high - low).max())
        limit = np.array([face.image.shape[1], face.image.shape[0]])
        begin = np.clip(np.floor(low - margin), 0, limit - 1).astype(int)
        end = np.clip(np.ceil(high + margin), begin + 1, limit).astype(int)
        crop = np.ascontiguousarray(face.image[begin[1] : end[1], begin[0] : end[0]])
        marks = [self._dlib.point(int(x), int(y)) for x, y in np.round(points - begin)]
        (left, top), (right, bottom) = np.round(low - begin).astype(int), np.round(high - begin).astype(int)
        shape = self._dlib.full_object_detection(
            self._dlib.rectangle(int(left), int(top), int(right), int(bottom)), marks
        )
        return np.asarray(self._network.compute_face_descriptor(crop, shape), np.float32)

    def distance(self, one: Float, other: Float) -> float:
        """Return the Euclidean distance in units of the boundary."""
        return float(np.linalg.norm(one - other)) / BOUNDARY


def model_file() -> Path:
    """Return the path of the network in the package ``face_recognition_models``. The package is not imported, because
    it requires setuptools."""
    found = find_spec("face_recognition_models")
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    for folder in folders:
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    raise PlanError(
        "recogniser 'dlib': the package face_recognition_models contains no network; reinstall the package "
        "(pip install 'retalkit[identity]')",
        code="broken-package",
    )
