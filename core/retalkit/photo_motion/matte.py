"""Opacity of the person in front of the background of a photo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.photo_motion.head_warp import HeadGeometry, dilated

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

_AROUND = 1.9
"""Half side of the segmented square around the face, relative to the face size. A small region has a sharp outline."""
_GUIDE_RADIUS = 0.03
"""Radius of the guided filter, relative to the face size."""
_GUIDE_NOISE = (0.03 * 255) ** 2


def person_opacity(photo: Image, geometry: HeadGeometry, segment: Callable[[Image], Float]) -> Float:
    """Return the opacity of the person in [0, 1], float32 [H, W]. Objects that do not touch the person are removed.

    ``photo``: RGB uint8 [H, W, 3]. ``segment``: function that estimates the opacity of the persons in an image, such as
    ``PersonSegmenter.person_opacity``. The estimate is refined with a guided filter (He et al., "Guided image
    filtering", ECCV 2010), so that it follows the outline of the hair.
    """
    height, width = photo.shape[:2]
    half = _AROUND * geometry.size
    left, top = np.clip(np.floor(geometry.centre - half).astype(int), 0, [width, height])
    right, bottom = np.clip(np.ceil(geometry.centre + half).astype(int), 0, [width, height])
    crop = np.ascontiguousarray(photo[top:bottom, left:right])
    corner = np.array([left, top], np.float64)
    radius = max(round(_GUIDE_RADIUS * geometry.size), 3)
    refined: Any = cv2.ximgproc.guidedFilter(crop, segment(crop).astype(np.float32), radius, _GUIDE_NOISE)
    person = np.clip((refined - 0.08) / 0.84, 0, 1).astype(np.float32)
    out = np.zeros((height, width), np.float32)
    out[top:bottom, left:right] = _connected(person, geometry.centre - corner, radius)
    return out


def _connected(opacity: Float, seed: NDArray[np.float64], radius: int) -> Float:
    """Return the opacity of the component that contains the point ``seed``."""
    _, labels = cv2.connectedComponents((opacity > 0.5).astype(np.uint8))
    x, y = np.clip(np.rint(seed).astype(int), 0, [opacity.shape[1] - 1, opacity.shape[0] - 1])
    if labels[y, x] == 0:
        return opacity
    near = dilated(labels == labels[y, x], radius)
    return opacity * near.astype(np.float32)
