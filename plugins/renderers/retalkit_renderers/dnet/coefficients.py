"""What D-Net is told of a frame: expression, pose and crop of the 26 frames around it.

Coefficients are those of the space ``bfm257``: float32 [T, 262] = identity 80, expression 64, texture 80, angles 3,
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
"""Numbers of a frame."""

EXPRESSIONS: Final = 64
BEFORE: Final = 13
AFTER: Final = 12
"""Frames around the one that is edited; with itself 26."""

EXPRESSION_SHARE: Final = 0.3
"""Weight of the expression against that of the angles where the nearest frame is sought."""


class FaceParts(NamedTuple):
    """The parts of a fit, each float32 [T, ...]."""

    identity: Float
    expression: Float
    texture: Float
    angles: Float
    illumination: Float
    translation: Float


def split(coefficients: Float) -> FaceParts:
    """The parts of [T, 257] coefficients."""
    return FaceParts(*np.split(coefficients, [80, 144, 224, 227, 254], axis=1))


def window(index: int, first: int, last: int) -> NDArray[np.int64]:
    """int64 [26]: the frames around ``index``, none before ``first`` or after ``last``; the ends are repeated."""
    return np.clip(np.arange(index - BEFORE, index + AFTER + 1), first, last)


def driving_window(rows: Float, crop_ratio: float = 1.0) -> Float:
    """float32 [73, 26]: what D-Net reads of the coefficients [26, 262] of a ``window``.

    Rows 0 to 63 expression, 64 to 66 angles, 67 to 69 translation, 70 to 72 scale and shift of the crop; the scale is
    multiplied by ``crop_ratio``.
    """
    crop = rows[:, CROP] * np.array([crop_ratio, 1, 1], np.float32)
    parts = [rows[:, EXPRESSION], rows[:, ANGLES], rows[:, TRANSLATION], crop]
    return np.concatenate(parts, axis=1).astype(np.float32).T


def wearing(driving: Float, expression: Float) -> Float:
    """A copy of a driving window [73, 26] in which every frame has the same ``expression`` [64]."""
    out = driving.copy()
    out[:EXPRESSIONS] = expression[:, None]
    return out


def crop_norm_ratio(source: Float, targets: Float) -> float:
    """How much larger ``source`` [262] was cropped than the frame of ``targets`` [T, 262] that is most like it.

    A source that is one of the targets is most like itself, and the ratio is exactly 1: so in the published script, and
    so in this package, where source and targets are frames of one shot. It matters where another video drives the face.
    """
    expression = np.abs(targets[:, EXPRESSION] - source[EXPRESSION]).mean(1)
    angles = np.abs(targets[:, ANGLES] - source[ANGLES]).mean(1)
    nearest = np.argmin(EXPRESSION_SHARE * expression + (1 - EXPRESSION_SHARE) * angles)
    return float(source[SCALE] / targets[nearest, SCALE])
