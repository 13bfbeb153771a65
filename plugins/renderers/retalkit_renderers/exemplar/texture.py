"""Matching of an edit's motion blur and grain to those of the frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

_BLUR_RATIO = 0.72
"""Ratio of fine detail between frame and exemplar below which the exemplar is blurred."""
_MAX_BLUR = 2.0
_MAX_GAIN = 0.8
"""Maximum detail gain. A higher gain would amplify compression noise."""
_TARGET_RATIO = 0.92
"""Target fraction of the original variance.

Frames above the target are not changed, so that the mean fraction is close to 1.
"""
_GRAIN_SIGMA = 1.0
"""Standard deviation, in pixels, of the Gaussian filter that separates the grain."""


def _fine(image: Float) -> Float:
    return np.asarray(cv2.subtract(image, cv2.GaussianBlur(image, (0, 0), _GRAIN_SIGMA)), np.float32)


def _grey(image: Float) -> Float:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def detail_level(image: Float, skin: Image) -> float:
    """Return the root mean square of an image's fine detail in grey levels.

    ``image``: float32 [h, w, 3]. ``skin``: mask that is non-zero for evaluated pixels, uint8 [h, w].
    """
    total = cv2.countNonZero(skin)
    if total < 20:
        return 0.0
    # Edges such as nostrils or a moustache are not grain, so large values are clipped.
    grey = _grey(image)
    fine = np.minimum(cv2.absdiff(grey, cv2.GaussianBlur(grey, (0, 0), _GRAIN_SIGMA)), np.float32(12))
    return float(np.sqrt(cv2.norm(fine, cv2.NORM_L2SQR, skin) / total))


def match_blur(warped: Float, target: float, skin: Image) -> Float:
    """Blur ``warped`` if the frame's skin is much softer, for example due to motion blur.

    ``warped``: float32 [h, w, 3]. ``target``: ``detail_level`` of the frame. ``skin``: mask that is non-zero on skin,
    uint8 [h, w].
    """
    level = detail_level(warped, skin)
    if level <= 0 or target <= 0 or target >= _BLUR_RATIO * level:
        return warped
    sigma = float(np.clip(0.55 * np.sqrt(_BLUR_RATIO * level / target - 1) + 0.35, 0.35, _MAX_BLUR))
    return cv2.GaussianBlur(warped, (0, 0), sigma).astype(np.float32)


def restore_grain(edited: Float, original: Float, skin: Image, where: Float) -> Float:
    """Amplify the fine detail of ``edited`` until the variance of its Laplacian on the skin is close to the original's.

    Warping averages neighbouring pixels and reduces grain. The function amplifies the remaining grain with a gain
    between 1 and ``_MAX_GAIN``. Images are float32 [h, w, 3] in [0, 255]. ``skin``: mask with the value 1 on skin and
    0 elsewhere, uint8 [h, w]. ``where``: weight of the change for each pixel in [0, 1], float32 [h, w].
    """
    if cv2.countNonZero(skin) < 50:
        return edited
    now = _laplacian(_grey(edited))
    inside = skin.astype(np.float32)
    want, have = _TARGET_RATIO * _variance(_laplacian(_grey(original)), inside), _variance(now, inside)
    if have >= want:
        return edited
    fine = _fine(edited)
    more = _laplacian(_grey(fine))
    # Solve var(now + gain * more) = want for the gain. The covariance is derived from var(now + more).
    square = _variance(more, inside)
    cross = (_variance(np.asarray(cv2.add(now, more), np.float32), inside) - have - square) / 2
    if square <= 0:
        return edited
    gain = min((-cross + float(np.sqrt(max(cross * cross - square * (have - want), 0)))) / square, _MAX_GAIN)
    if gain <= 0:
        return edited
    return np.asarray(cv2.add(edited, cv2.multiply(fine, cv2.merge([where * np.float32(gain)] * 3))), np.float32)


def _laplacian(grey: Float) -> Float:
    return np.asarray(cv2.Laplacian(grey, cv2.CV_32F, ksize=3), np.float32)


def _variance(values: Float, inside: Float) -> float:
    """Return the variance of the pixels for which ``inside`` is 1. It is 0 for all other pixels."""
    count, part = cv2.sumElems(inside)[0], cv2.multiply(values, inside)
    mean = cv2.sumElems(part)[0] / count
    return cv2.norm(part, cv2.NORM_L2SQR) / count - mean * mean
