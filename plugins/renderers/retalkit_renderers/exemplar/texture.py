"""Keeping an edit's texture as the frame's: motion blur and grain."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

_BLUR_FROM = 0.72
"""An exemplar is blurred when the frame has less than this share of its fine detail."""
_MOST_BLUR = 2.0
_MOST_GAIN = 0.8
"""More would sharpen compression noise."""
_AIM = 0.92
"""Of the original variance: frames that keep more than that are not weakened, so the mean comes out near 1."""
_FINE = 1.0
"""Sigma in pixels that parts grain from the rest."""


def _fine(image: Float) -> Float:
    return np.asarray(cv2.subtract(image, cv2.GaussianBlur(image, (0, 0), _FINE)), np.float32)


def _grey(image: Float) -> Float:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def detail_level(image: Float, skin: Image) -> float:
    """Root mean square of the fine detail of float32 [h, w, 3] where ``skin`` (uint8 [h, w]) is not 0; grey levels."""
    total = cv2.countNonZero(skin)
    if total < 20:
        return 0.0
    # Edges (nostrils, moustache) are not grain: they are cut off.
    grey = _grey(image)
    fine = cv2.min(cv2.absdiff(grey, cv2.GaussianBlur(grey, (0, 0), _FINE)), 12.0)
    return float(np.sqrt(cv2.norm(fine, cv2.NORM_L2SQR, skin) / total))


def match_blur(moved: Float, want: float, skin: Image) -> Float:
    """Blurs ``moved`` (float32 [h, w, 3]) when the frame, whose ``detail_level`` is ``want``, is much softer on the
    ``skin`` (uint8 [h, w]), as in fast motion."""
    have = detail_level(moved, skin)
    if have <= 0 or want <= 0 or want >= _BLUR_FROM * have:
        return moved
    sigma = float(np.clip(0.55 * np.sqrt(_BLUR_FROM * have / want - 1) + 0.35, 0.35, _MOST_BLUR))
    return cv2.GaussianBlur(moved, (0, 0), sigma).astype(np.float32)


def restore_grain(edited: Float, original: Float, skin: Image, where: Float) -> Float:
    """Lifts the fine detail of ``edited`` until its Laplacian varies on the ``skin`` nearly as that of ``original``.

    Warping averages neighbouring pixels and so loses grain; what is left of it is amplified, at most by
    ``_MOST_GAIN``, never weakened. Images are float32 [h, w, 3] in [0, 255], ``skin`` is uint8 [h, w], not 0 on skin,
    ``where`` float32 [h, w] in [0, 1] says where the result may differ.
    """
    if cv2.countNonZero(skin) < 50:
        return edited
    now = _laplacian(_grey(edited))
    want, have = _AIM * _variance(_laplacian(_grey(original)), skin), _variance(now, skin)
    if have >= want:
        return edited
    fine = _fine(edited)
    more = _laplacian(_grey(fine))
    # var(now + gain * more) = want, solved for the gain; the covariance from var(now + more).
    square = _variance(more, skin)
    cross = (_variance(cv2.add(now, more), skin) - have - square) / 2
    if square <= 0:
        return edited
    gain = min((-cross + float(np.sqrt(max(cross * cross - square * (have - want), 0)))) / square, _MOST_GAIN)
    if gain <= 0:
        return edited
    return np.asarray(cv2.add(edited, cv2.multiply(fine, cv2.merge([where * np.float32(gain)] * 3))), np.float32)


def _laplacian(grey: Float) -> Float:
    return np.asarray(cv2.Laplacian(grey, cv2.CV_32F, ksize=3), np.float32)


def _variance(values: Float, inside: Image) -> float:
    mean = cv2.mean(values, inside)[0]
    return cv2.norm(values, cv2.NORM_L2SQR, inside) / cv2.countNonZero(inside) - mean * mean
