"""Masks of the mouth or the face from the classes of ParseNet."""

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
"""The classes of CelebAMask-HQ (Lee et al., CVPR 2020) in ParseNet's order."""

MOUTH: Final = frozenset({10, 11, 12})
"""Inner mouth and lips."""
FACE: Final = frozenset({1, 2, 3, 4, 5, 6, 7}) | MOUTH
"""Skin and the features inside it, including glasses; no ears, hair or neck. The published pipeline restores these."""

BORDER: Final = 20
"""Width in pixels of 512 of the border of the aligned face where a soft mask is zero."""
BLUR: Final = 11.0
"""Standard deviation in pixels of 512 of each of the two blurs that soften a mask."""
_KERNEL: Final = (101, 101)


def class_mask(classes: NDArray[np.uint8], wanted: Collection[int]) -> NDArray[np.uint8]:
    """Return uint8 of the same shape: 255 where the class is one of ``wanted``, else 0."""
    table = np.zeros(256, np.uint8)
    table[list(wanted)] = 255
    return table[classes]


def soften(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mask float32 [512, 512] with a zero border of ``BORDER`` pixels, blurred twice, as published."""
    inner = np.zeros(mask.shape, np.float32)
    middle = slice(BORDER, -BORDER)
    inner[middle, middle] = mask[middle, middle]
    for _ in range(2):
        inner = np.asarray(cv2.GaussianBlur(inner, _KERNEL, BLUR), np.float32)
    return inner
