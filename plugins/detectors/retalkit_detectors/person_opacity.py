"""Opacity of persons in front of the background, estimated by MediaPipe's selfie segmentation."""

# MediaPipe does not provide type information.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit_detectors.lazy_packages import defer_initialisation

defer_initialisation("mediapipe", "mediapipe.python.solutions")

from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation  # noqa: E402


def person_opacity(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the opacity of the persons in an image, in [0, 1], float32 [H, W]. See ``PersonSegmenter``.

    The network has an input of 256 x 256 pixels, and the package ``mediapipe`` contains its weights.
    """
    network = SelfieSegmentation(model_selection=0)
    try:
        found: Any = network.process(np.ascontiguousarray(image)).segmentation_mask
    finally:
        network.close()
    height, width = image.shape[:2]
    if found.shape != (height, width):
        found = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(found, 0, 1).astype(np.float32)
