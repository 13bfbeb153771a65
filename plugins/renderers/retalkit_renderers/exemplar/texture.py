"""Matches the texture of an edit to that of the frame: motion blur and grain."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

_BLUR_RATIO = 0.72
"""An exemplar is blurred if the frame has less than this share of its fine detail."""
_MAX_BLUR = 2.0
_MAX_GAIN = 0.8
"""More would sharpen compression noise."""
_TARGET_RATIO = 0.92
"""Share of the original variance to reach. Frames that have more are not changed, so that the mean is near 1."""
_GRAIN_SIGMA = 1.0
"""Standard deviation in pixels of the Gaussian that separates grain."""


def _fine(image: Float) -> Float:
    return np.asarray(cv2.subtract(image, cv2.GaussianBlur(image, (0, 0), _GRAIN_SIGMA)), np.float32)


def _grey(image: Float) -> Float:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def detail_level(image: Float, skin: Image) -> float:
    """Return the root mean square, in grey levels, of the fine detail of float32 [h, w, 3] where ``skin`` (uint8
    [h, w]) is not 0."""
    total = cv2.countNonZero(skin)
    if total < 20:
        return 0.0
    # Edges (nostrils, moustache) are not grain: clip them.
    grey = _grey(image)
    fine = np.minimum(cv2.absdiff(grey, cv2.GaussianBlur(grey, (0, 0), _GRAIN_SIGMA)), np.float32(12))
    return float(np.sqrt(cv2.norm(fine, cv2.NORM_L2SQR, skin) / total))


def match_blur(warped: Float, target: float, skin: Image) -> Float:
    """Blur ``warped`` (float32 [h, w, 3]) if the frame, whose ``detail_level`` is ``target``, is much softer on the
    ``skin`` (uint8 [h, w]), as in fast motion."""
    level = detail_level(warped, skin)
    if level <= 0 or target <= 0 or target >= _BLUR_RATIO * level:
        return warped
    sigma = float(np.clip(0.55 * np.sqrt(_BLUR_RATIO * level / target - 1) + 0.35, 0.35, _MAX_BLUR))
    return cv2.GaussianBlur(warped, (0, 0), sigma).astype(np.float32)


def restore_grain(edited: Float, original: Float, skin: Image, where: Float) -> Float:
    """Amplify the fine detail of ``edited`` until the variance of its Laplacian on the ``skin`` is close to that of
    ``original``.

    Warping averages neighbouring pixels and loses grain; the remaining grain is amplified, at most by ``_MAX_GAIN``,
    never reduced. Images are float32 [h, w, 3] in [0, 255], ``skin`` is uint8 [h, w], not 0 on skin; ``where`` float32
    [h, w] in [0, 1] weights the change per pixel.
    """
    if cv2.countNonZero(skin) < 50:
        return edited
    now = _laplacian(_grey(edited))
    want, have = _TARGET_RATIO * _variance(_laplacian(_grey(original)), skin), _variance(now, skin)
    if have >= want:
        return edited
    fine = _fine(edited)
    more = _laplacian(_grey(fine))
    # var(now + gain * more) = want, solved for the gain; the covariance from var(now + more).
    square = _variance(more, skin)
    cross = (_variance(np.asarray(cv2.add(now, more), np.float32), skin) - have - square) / 2
    if square <= 0:
        return edited
    gain = min((-cross + float(np.sqrt(max(cross * cross - square * (have - want), 0)))) / square, _MAX_GAIN)
    if gain <= 0:
        return edited
    return np.asarray(cv2.add(edited, cv2.multiply(fine, cv2.merge([where * np.float32(gain)] * 3))), np.float32)


def _laplacian(grey: Float) -> Float:
    return np.asarray(cv2.Laplacian(grey, cv2.CV_32F, ksize=3), np.float32)


def _variance(values: Float, inside: Image) -> float:
    mean = cv2.mean(values, inside)[0]
    return cv2.norm(values, cv2.NORM_L2SQR, inside) / cv2.countNonZero(inside) - mean * mean
