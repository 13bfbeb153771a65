"""Patches that stay with the head: frames are warped onto a plane fixed to it, so that what is left is no head motion.

The frame-to-frame differences of ``picture_quality`` and ``flicker`` are taken in such patches (Lai et al., "Learning
blind video temporal consistency", ECCV 2018, warp by optical flow; here head pose is in the place of flow).
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
    """An upright rectangle of the head frame."""

    corners: Float
    """float32 [3, 3], in IOD: upper left, upper right, lower left."""
    size: tuple[int, int]
    """Width and height in pixels of what is cut."""

    @classmethod
    def upright(
        cls, left: float, top: float, right: float, bottom: float, depth: float, size: tuple[int, int]
    ) -> Patch:
        """Of its borders and its depth, in IOD."""
        corners = [[left, top, depth], [right, top, depth], [left, bottom, depth]]
        return cls(np.array(corners, np.float32), size)

    def matrix(self, pose: HeadPose) -> Float:
        """float32 [2, 3]: from pixels of the patch to those of the frame with ``pose`` (length 1, finite)."""
        pixels = np.ascontiguousarray(to_pixels(self.corners, pose)[0, :, :2])
        wide, high = self.size
        return cv2.getAffineTransform(np.array([[0, 0], [wide, 0], [0, high]], np.float32), pixels).astype(np.float32)

    def cut(self, image: NDArray[Any], matrix: Float) -> NDArray[Any]:
        """The patch of ``image`` ([H, W] or [H, W, C]), bilinear, in its dtype; 0 outside the frame."""
        return cv2.warpAffine(image, matrix, self.size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


@dataclass(slots=True)
class Mean:
    """A weighted mean that is added to."""

    total: float = 0.0
    count: float = 0.0

    def add(self, value: float, weight: float = 1.0) -> None:
        """Adds ``value`` with ``weight``."""
        self.total += value * weight
        self.count += weight

    @property
    def value(self) -> float:
        """NaN where nothing was added."""
        return self.total / self.count if self.count else float("nan")


def ratio(output: Mean, original: Mean) -> float:
    """Output over original; NaN where the original has nothing, or 0."""
    return output.value / original.value if original.count and original.value > 0 else float("nan")
