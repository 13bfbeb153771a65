"""Driving coefficients of D-Net: expression, pose and crop of the 26 frames around a frame.

Coefficients are in the space ``bfm257``: float32 [T, 262] = identity 80, expression 64, texture 80, angles 3,
illumination 27, translation 3, and the five numbers of the crop for the fit: width, height, scale, shift x, shift y.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

EXPRESSION: Final = slice(80, 144)
ANGLES: Final = slice(224, 227)
TRANSLATION: Final = slice(254, 257)
CROP: Final = slice(259, 262)
"""Scale and shift; width and height are the same for every frame."""
SCALE: Final = 259
WIDTH: Final = 262
"""Coefficients of a frame."""

EXPRESSIONS: Final = 64
BEFORE: Final = 13
AFTER: Final = 12
"""Frames before and after the edited one."""
WINDOW: Final = BEFORE + 1 + AFTER
"""26 frames."""

EXPRESSION_SHARE: Final = 0.3
"""Weight of the expression, against that of the angles, in the distance of two frames."""


class FaceParts(NamedTuple):
    """Parts of the coefficients, each float32 [T, ...]."""

    identity: Float
    expression: Float
    texture: Float
    angles: Float
    illumination: Float
    translation: Float


def split(coefficients: Float) -> FaceParts:
    """Return the parts of coefficients [T, 257]."""
    return FaceParts(*np.split(coefficients, [80, 144, 224, 227, 254], axis=1))


def window(index: int, first: int, last: int) -> NDArray[np.int64]:
    """Return the frames around ``index``, int64 [26], clipped to ``first`` and ``last``."""
    return np.clip(np.arange(index - BEFORE, index + AFTER + 1), first, last)


def driving_window(rows: Float, crop_ratio: float = 1.0) -> Float:
    """Return D-Net's input float32 [73, 26] for the coefficients [26, 262] of a ``window``.

    Rows 0 to 63 expression, 64 to 66 angles, 67 to 69 translation, 70 to 72 scale and shift of the crop; the scale is
    multiplied by ``crop_ratio``.
    """
    crop = rows[:, CROP] * np.array([crop_ratio, 1, 1], np.float32)
    parts = [rows[:, EXPRESSION], rows[:, ANGLES], rows[:, TRANSLATION], crop]
    return np.concatenate(parts, axis=1).astype(np.float32).T


def replace_expression(driving: Float, expression: Float) -> Float:
    """Return a copy of a driving window [73, 26] with ``expression`` [64] in every frame."""
    out = driving.copy()
    out[:EXPRESSIONS] = expression[:, None]
    return out


def crop_norm_ratio(source: Float, targets: Float) -> float:
    """Return the crop scale of ``source`` [262] relative to the most similar frame of ``targets`` [T, 262].

    The ratio is exactly 1 if the source is one of the targets, as in the published script and in this package, where
    source and targets are frames of one shot. It matters when another video drives the face.
    """
    expression = np.abs(targets[:, EXPRESSION] - source[EXPRESSION]).mean(1)
    angles = np.abs(targets[:, ANGLES] - source[ANGLES]).mean(1)
    nearest = np.argmin(EXPRESSION_SHARE * expression + (1 - EXPRESSION_SHARE) * angles)
    return float(source[SCALE] / targets[nearest, SCALE])
