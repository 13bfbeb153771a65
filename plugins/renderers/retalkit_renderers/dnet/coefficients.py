"""Driving coefficients of D-Net, which contain the expression, pose and crop parameters of 26 neighbouring frames.

Coefficients are in the space ``bfm257``, float32 [T, 262]: identity 80, expression 64, texture 80, angles 3,
illumination 27, translation 3, and five crop parameters from the fit. The crop parameters are width, height, scale,
shift x and shift y.
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
"""Slice of the crop scale and shift. The width and height are constant over all frames."""
SCALE: Final = 259
WIDTH: Final = 262
"""Number of coefficients per frame."""

EXPRESSIONS: Final = 64
BEFORE: Final = 13
AFTER: Final = 12
"""Number of context frames before and after the edited frame."""
WINDOW: Final = BEFORE + 1 + AFTER
"""Number of frames in a window (26)."""

EXPRESSION_SHARE: Final = 0.3
"""Weight of the expression relative to the angles in the distance between two frames."""


class FaceParts(NamedTuple):
    """Coefficient groups, float32 [T, ...] each."""

    identity: Float
    expression: Float
    texture: Float
    angles: Float
    illumination: Float
    translation: Float


def split(coefficients: Float) -> FaceParts:
    """Return the coefficient groups for coefficients [T, 257]."""
    return FaceParts(*np.split(coefficients, [80, 144, 224, 227, 254], axis=1))


def window(index: int, first: int, last: int) -> NDArray[np.int64]:
    """Return the indexes of the frames around ``index``, int64 [26], clipped to ``first`` and ``last``."""
    return np.clip(np.arange(index - BEFORE, index + AFTER + 1), first, last)


def driving_window(rows: Float, crop_ratio: float = 1.0) -> Float:
    """Return D-Net's input, float32 [73, 26], for the coefficients [26, 262] of a ``window``.

    Rows 0 to 63 contain the expression, rows 64 to 66 the angles, rows 67 to 69 the translation, and rows 70 to 72 the
    crop's scale and shift. The scale is multiplied by ``crop_ratio``.
    """
    crop = rows[:, CROP] * np.array([crop_ratio, 1, 1], np.float32)
    parts = [rows[:, EXPRESSION], rows[:, ANGLES], rows[:, TRANSLATION], crop]
    return np.concatenate(parts, axis=1).astype(np.float32).T


def replace_expression(driving: Float, expression: Float) -> Float:
    """Return a copy of a driving window [73, 26] with the expression ``expression`` [64] in every frame."""
    out = driving.copy()
    out[:EXPRESSIONS] = expression[:, None]
    return out


def crop_norm_ratio(source: Float, targets: Float) -> float:
    """Return the ratio of the crop scale of ``source`` [262] to that of the most similar frame in ``targets`` [T, 262].

    If the source is one of the targets, the ratio is exactly 1. This is always the case in the published script and in
    this package, because source and targets are frames from one shot. The ratio may differ from 1 if a different video
    drives the face.
    """
    expression = np.abs(targets[:, EXPRESSION] - source[EXPRESSION]).mean(1)
    angles = np.abs(targets[:, ANGLES] - source[ANGLES]).mean(1)
    nearest = np.argmin(EXPRESSION_SHARE * expression + (1 - EXPRESSION_SHARE) * angles)
    return float(source[SCALE] / targets[nearest, SCALE])
