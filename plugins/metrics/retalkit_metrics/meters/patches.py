"""Pose-stabilised patches. Frames are warped onto a plane that is fixed to the head, which removes head motion.

``image_quality`` and ``flicker`` measure frame-to-frame differences in such patches. Lai et al., "Learning blind video
temporal consistency", ECCV 2018, warp frames by optical flow. This module uses head pose instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.pose import HeadPose, to_pixels

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Patch:
    """Upright rectangle in the head frame."""

    corners: Float
    """Upper left, upper right and lower left corners in IOD, float32 [3, 3]."""
    size: tuple[int, int]
    """Width and height of the warped patch in pixels."""

    @classmethod
    def upright(
        cls, left: float, top: float, right: float, bottom: float, depth: float, size: tuple[int, int]
    ) -> Patch:
        """Create a patch from its borders and its depth in IOD."""
        corners = [[left, top, depth], [right, top, depth], [left, bottom, depth]]
        return cls(np.array(corners, np.float32), size)

    def matrix(self, pose: HeadPose) -> Float:
        """Return the affine matrix from patch pixels to frame pixels, float32 [2, 3].

        ``pose``: finite head pose of one frame (T = 1).
        """
        pixels = np.ascontiguousarray(to_pixels(self.corners, pose)[0, :, :2])
        width, height = self.size
        patch_corners = np.array([[0, 0], [width, 0], [0, height]], np.float32)
        return cv2.getAffineTransform(patch_corners, pixels).astype(np.float32)

    def warp(self, image: NDArray[Any], matrix: Float) -> NDArray[Any]:
        """Return ``image``, warped bilinearly to the patch, with the value 0 outside the frame.

        ``image``: [H, W] or [H, W, C] of any dtype. The result has the dtype of ``image``.
        """
        return cv2.warpAffine(image, matrix, self.size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


@dataclass(slots=True)
class Mean:
    """Accumulator for a weighted mean."""

    total: float = 0.0
    count: float = 0.0

    def add(self, value: float, weight: float = 1.0) -> None:
        """Add ``value`` to the mean with the weight ``weight``."""
        self.total += value * weight
        self.count += weight

    @property
    def value(self) -> float:
        """Weighted mean of the added values, or NaN if no value was added."""
        return self.total / self.count if self.count else float("nan")


def ratio(output: Mean, original: Mean) -> float:
    """Return the output's mean divided by the original's mean.

    Returns NaN if the original has no values or its mean is 0.
    """
    return output.value / original.value if original.count and original.value > 0 else float("nan")
