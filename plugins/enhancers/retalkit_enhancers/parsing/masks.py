"""Mouth and face masks that are computed from ParseNet's classes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

NAMES: Final = (
    "background", "skin", "nose", "glasses", "left eye", "right eye", "left brow", "right brow", "left ear",
    "right ear", "mouth", "upper lip", "lower lip", "hair", "hat", "earring", "necklace", "neck", "cloth",
)  # fmt: skip
"""CelebAMask-HQ classes (Lee et al., CVPR 2020) in ParseNet's order."""

MOUTH: Final = frozenset({10, 11, 12})
"""Classes of the mouth interior and the lips."""
FACE: Final = frozenset({1, 2, 3, 4, 5, 6, 7}) | MOUTH
"""Classes of skin and inner facial features, including glasses. Ears, hair and neck are excluded, as in the published
pipeline.
"""

BORDER: Final = 20
"""Width of the zero border of a soft mask, in pixels of the 512-pixel aligned face."""
BLUR: Final = 11.0
"""Standard deviation of the Gaussian blur that softens a mask, in pixels of the 512-pixel aligned face. The blur is
applied twice.
"""
_KERNEL: Final = (101, 101)


def class_mask(classes: NDArray[np.uint8], wanted: Collection[int]) -> NDArray[np.uint8]:
    """Return a mask, uint8 [h, w]: 255 for pixels whose class is in ``wanted``, 0 elsewhere.

    ``classes``: class of each pixel, uint8 [h, w].
    """
    table = np.zeros(256, np.uint8)
    table[list(wanted)] = 255
    return table[classes]


def soften(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``mask``, float32 [512, 512], blurred twice, with a zero border of ``BORDER`` pixels.

    The mask is blurred twice to match the published code.
    """
    inner = np.zeros(mask.shape, np.float32)
    middle = slice(BORDER, -BORDER)
    inner[middle, middle] = mask[middle, middle]
    for _ in range(2):
        inner = np.asarray(cv2.GaussianBlur(inner, _KERNEL, BLUR), np.float32)
    return inner
