"""Test of whether the image shows a mouth at the landmarks of the lips.

The landmark networks return plausible lips for every face, also on a face mask, a card or a hand in front of the mouth.
A mouth has dark and bright parts: the line between the lips, the mouth interior, and the shadow below the lower lip.
A cover is either plain, or differs in colour from the upper half of the face and has no lips that differ in colour from
their surroundings. All measures are relative to the brightness of the face, so they are independent of the exposure.

The limits were selected on five public clips with 12 variants each (black-and-white, a tenth of the brightness,
overexposed, cartoon, noise, blur, rotation) and on 12 covers drawn on them.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

FACE_WIDTH: Final = 64
"""Width in pixels to which the face is reduced."""
LEAST_CONTRAST: Final = 0.12
"""Minimum range of the brightness of the lips relative to the brightness around the mouth. The measured range of mouths
is 0.39 to 1.9, or 0.2 if the image is strongly blurred. The measured range of plain covers is at most 0.09."""
_USUAL_CONTRAST: Final = 0.56
"""Contrast above which the colour is not evaluated."""
_FOREIGN: Final = 0.075
"""Difference in chromaticity between the surroundings of the mouth and the upper half of the face."""
_LIPS: Final = 0.004
"""Minimum difference in red chromaticity between lips and their surroundings."""
_OUTER = slice(48, 60)

_SURROUNDINGS: Final = ((33, 51, 0.5), (57, 8, 0.45), (48, 5, 0.4), (54, 11, 0.4), (59, 7, 0.4), (55, 9, 0.4))
_UPPER_FACE: Final = ((27, 28, 0.5), (27, 21, 0.5), (27, 22, 0.5), (41, 48, 0.25), (46, 54, 0.25), (27, 27, 0.0))
"""Pairs of ibug68 points and the weight of the second point."""


def shows_mouth(image: Image, landmarks: Float) -> bool:
    """Return whether an image shows a mouth.

    ``image``: RGB uint8 [H, W, 3]. ``landmarks``: float32 [68, >=2] in pixels, in the scheme ibug68. The result is True
    if the mouth is outside the image.
    """
    measures = mouth_measures(image, landmarks)
    if measures is None:
        return True
    contrast, foreign, red = measures
    if contrast < LEAST_CONTRAST:
        return False
    return not (contrast < _USUAL_CONTRAST and foreign > _FOREIGN and abs(red) < _LIPS)


def mouth_measures(image: Image, landmarks: Float) -> tuple[float, float, float] | None:
    """Return the contrast of the lips, the chromaticity difference between the mouth's surroundings and the upper face,
    and the red chromaticity difference between lips and surroundings, or None if the mouth is outside the image."""
    points = landmarks[:, :2].astype(np.float64)
    height, width = image.shape[:2]
    low, high = points.min(0), points.max(0)
    left, top = (int(each) for each in np.maximum(np.floor(low), 0))
    right, bottom = (int(each) for each in np.minimum(np.ceil(high) + 1, (width, height)))
    lips = points[_OUTER]
    if right - left < 8 or bottom - top < 8 or (lips < 0).any() or (lips >= (width, height)).any():
        return None
    scale = min(FACE_WIDTH / max(float(high[0] - low[0]), 1.0), 1.0)
    size = (max(round((right - left) * scale), 4), max(round((bottom - top) * scale), 4))
    small = cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
    face = cv2.GaussianBlur(small, (0, 0), 0.8).astype(np.float32)
    placed = (points - (left, top)) * ((size[0] / (right - left)), (size[1] / (bottom - top)))

    mask = np.zeros(face.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(placed[_OUTER]).astype(np.int32)], (1.0,))
    mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    around = _sample(face, placed, _SURROUNDINGS)
    colours = face[mask > 0]
    light = colours.mean(1)
    level = max(float(_middle(np.concatenate([light, around.mean(1)]))), 6.0)
    # Sorting is faster than the percentile functions of NumPy.
    light.sort()
    contrast = float(light[int(0.95 * (len(light) - 1))] - light[int(0.05 * (len(light) - 1))]) / level
    skin = _middle(_chromaticity(around))
    upper = _middle(_chromaticity(_sample(face, placed, _UPPER_FACE)))
    foreign = float(np.hypot(*(skin - upper)))
    red = float(_middle(_chromaticity(colours))[0] - skin[0])
    return contrast, foreign, red


def _middle(values: Float) -> Float:
    """Return the median along the first axis, or the upper of the two middle values."""
    return np.sort(values, axis=0)[len(values) // 2]


def _sample(face: Float, points: NDArray[np.float64], pairs: tuple[tuple[int, int, float], ...]) -> Float:
    one, other, weight = (np.array(column) for column in zip(*pairs, strict=True))
    places = points[one] * (1 - weight[:, None]) + points[other] * weight[:, None]
    columns, rows = np.clip(np.rint(places), 0, (face.shape[1] - 1, face.shape[0] - 1)).astype(int).T
    return face[rows, columns]


def _chromaticity(colours: Float) -> Float:
    """Return red and blue divided by the sum of the channels, float32 [N, 2]. Dark colours tend to 0."""
    return colours[:, [0, 2]] / (colours.sum(1, keepdims=True) + np.float32(20))
