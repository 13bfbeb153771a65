"""Keeping an edit's texture as the frame's: motion blur and grain."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

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
    return image - cv2.GaussianBlur(image, (0, 0), _FINE)


def detail_level(image: Float, weight: Float) -> float:
    """Root mean square of the fine detail of float32 [h, w, 3] under ``weight`` [h, w]; grey levels."""
    total = float(weight.sum())
    if total < 20:
        return 0.0
    # Edges (nostrils, moustache) are not grain: they are cut off.
    fine = np.minimum(np.abs(_fine(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))), 12.0)
    return float(np.sqrt((fine**2 * weight).sum() / total))


def match_blur(moved: Float, frame: Float, skin: Float) -> Float:
    """Blurs ``moved`` (float32 [h, w, 3]) when ``frame`` is much softer on the ``skin`` [h, w], as in fast motion."""
    want, have = detail_level(frame, skin), detail_level(moved, skin)
    if have <= 0 or want <= 0 or want >= _BLUR_FROM * have:
        return moved
    sigma = float(np.clip(0.55 * np.sqrt(_BLUR_FROM * have / want - 1) + 0.35, 0.35, _MOST_BLUR))
    return cv2.GaussianBlur(moved, (0, 0), sigma).astype(np.float32)


def restore_grain(edited: Float, original: Float, skin: Float, where: Float) -> Float:
    """Lifts the fine detail of ``edited`` until its Laplacian varies on the ``skin`` nearly as that of ``original``.

    Warping averages neighbouring pixels and so loses grain; what is left of it is amplified, at most by
    ``_MOST_GAIN``, never weakened. All are float32, images [h, w, 3] in [0, 255], ``skin`` and ``where`` [h, w] in
    [0, 1]; ``where`` says where the result may differ.
    """
    inside = skin > 0.5
    if int(inside.sum()) < 50:
        return edited
    fine = _fine(edited)
    want = _AIM * float(_laplacian(original)[inside].var())
    now, more = _laplacian(edited)[inside], _laplacian(fine)[inside]
    # var(now + gain * more) = want, solved for the gain.
    square, cross = float(more.var()), float(((now - now.mean()) * (more - more.mean())).mean())
    left = float(now.var()) - want
    if left >= 0 or square <= 0:
        return edited
    gain = min((-cross + float(np.sqrt(max(cross * cross - square * left, 0)))) / square, _MOST_GAIN)
    return edited + fine * (gain * where[..., None]) if gain > 0 else edited


def _laplacian(image: Float) -> Float:
    return cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F, ksize=3)
