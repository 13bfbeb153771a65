"""Metric ``sharpness``, which computes the CPBD of the face, and the skin sharpness relative to the unedited clip."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.metrics import Scores
from retalkit.metrics.scene import MetricSession, Scene, ScoredFrame

from retalkit_metrics.cpbd import cpbd
from retalkit_metrics.face_pairs import FacePairs
from retalkit_metrics.face_regions import bounding_window, is_found
from retalkit_metrics.meters.image_quality import ImageQualityMeter
from retalkit_metrics.meters.patches import Mean


class SharpnessMetric:
    """Metric ``sharpness``, which evaluates the face in every frame."""

    def open(self, scene: Scene) -> MetricSession:
        return _Session(scene)


class _Session:
    def __init__(self, scene: Scene) -> None:
        self._cpbd = Mean()
        self._faces = FacePairs(scene)
        template = self._faces.template
        self._quality = None if template is None else ImageQualityMeter(template)

    def add(self, frame: ScoredFrame) -> None:
        value = face_cpbd(frame.image, frame.landmarks)
        if np.isfinite(value):
            self._cpbd.add(value)
        pair = self._faces.pair(frame)
        if self._quality is not None and pair is not None:
            self._quality.add(pair.original, pair.output, pair.landmarks, pair.pose, pair.output_landmarks)

    def result(self) -> Scores:
        skin = float("nan") if self._quality is None else self._quality.result().skin_sharpness
        return {"cpbd": self._cpbd.value, "skin_sharpness": skin}


def face_cpbd(image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> float:
    """Return the CPBD of the face's bounding rectangle.

    Returns NaN if there is no face or if the rectangle is smaller than a CPBD block.
    """
    face = bounding_window(landmarks[: mesh478.MESH_COUNT], image.shape) if is_found(landmarks) else None
    if face is None:
        return float("nan")
    grey = cv2.cvtColor(np.ascontiguousarray(image[face]), cv2.COLOR_RGB2GRAY)
    return cpbd(grey.astype(np.uint8))
