"""Frame crops for restoration, which contain the face after compositing the edit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.imaging.compositing import composite, shift_matrix
from retalkit.stages import FaceEdit

from retalkit_enhancers.restoration.restorer import SIZE
from retalkit_enhancers.restoration.template import Matrix, inverse

Float = NDArray[np.float32]
Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom in integer pixels. The right and bottom coordinates are exclusive."""


@dataclass(frozen=True, slots=True)
class Crop:
    """Rectangular part of a frame at the frame's resolution."""

    image: Image
    """Frame pixels after compositing the edit, RGB uint8 [h, w, 3]. The array is a copy."""
    shown: NDArray[np.bool_]
    """Mask of pixels in which the edit is visible, bool [h, w]."""
    left: int
    top: int

    def local(self, matrix: Matrix) -> Matrix:
        """Return the frame's ``matrix`` in crop coordinates, float64 [2, 3]."""
        moved = np.array(matrix, np.float64)
        moved[:, 2] += moved[:, :2] @ (self.left, self.top)
        return moved

    def matrix(self) -> Float:
        """Return the matrix of an edit that covers the whole crop, float32 [2, 3]."""
        return shift_matrix(self.left, self.top)


def crop_for_template(frame: Image, matrix: Matrix, edit: FaceEdit | None = None) -> Crop | None:
    """Return the part of ``frame`` that the template covers, extended to include the whole edit.

    ``frame``: RGB uint8 [H, W, 3]. Returns None if the template does not overlap the frame.
    """
    height, width = frame.shape[:2]
    face = _bounds(matrix, SIZE, SIZE, width, height)
    if face is None:
        return None
    box = face
    if (
        edit is not None
        and (covered := _bounds(edit.matrix, edit.image.shape[1], edit.image.shape[0], width, height)) is not None
    ):
        (left, top, right, bottom), other = box, covered
        box = min(left, other[0]), min(top, other[1]), max(right, other[2]), max(bottom, other[3])
    left, top, right, bottom = box
    before = frame[top:bottom, left:right]
    crop = Crop(before.copy(), np.zeros(before.shape[:2], np.bool_), left, top)
    if edit is None:
        return crop
    inside = replace(edit, matrix=crop.local(np.asarray(edit.matrix, np.float64)).astype(np.float32))
    composite(crop.image, inside)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    mask = cv2.warpAffine(edit.mask, inside.matrix, (right - left, bottom - top), flags=flags)
    return replace(crop, shown=(mask > 0) | (crop.image != before).any(2))


def _bounds(matrix: Matrix | Float, columns: int, rows: int, width: int, height: int) -> Box | None:
    """Return the bounds of the frame area that ``matrix`` samples for ``columns`` x ``rows`` pixels.

    The bounds are clipped to the ``width`` x ``height`` frame.
    """
    ends = np.array([[-1, -1, 1], [columns, -1, 1], [-1, rows, 1], [columns, rows, 1]], np.float64)
    corners = ends @ inverse(np.asarray(matrix, np.float64)).T
    low = np.clip(np.floor(corners.min(0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 1, 0, (width, height)).astype(int)
    return None if (high <= low).any() else (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
