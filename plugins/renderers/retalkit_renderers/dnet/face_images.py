"""Face image conversion for D-Net, and pasting of edited faces into frames."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.face_crop import CROP_SIZE, crop_face
from retalkit.geometry.face_quad import extract_quad, face_quad, paste_quad

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

_HALF: Final = np.float32(0.5)


def to_network(image: Image) -> Float:
    """Return an image, float32 [3, H, W] in [-1, 1], for an image uint8 [H, W, 3]."""
    scaled = image.astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(((scaled - _HALF) / _HALF).transpose(2, 0, 1))


def to_uint8(values: Float) -> Image:
    """Return an image, uint8 [H, W, 3], for an image float32 [3, H, W] in [-1, 1]. As in the published script, values
    are truncated.
    """
    scaled = (np.clip(values, -1, 1).transpose(1, 2, 0) + np.float32(1)) * _HALF * np.float32(255)
    return scaled.astype(np.uint8)


def paste_face(frame: Image, face: Image, box: Float, points: NDArray[np.float64]) -> None:
    """Paste an edited face, uint8 [256, 256, 3], into ``frame``, uint8 [H, W, 3], in place.

    ``box``: source face crop (left, top, right, bottom). ``points``: ibug68 landmarks in the 256 x 256 crop, [68, 2].

    As in the published script, the function pastes the aligned square of the edited face over the 256 x 256 crop, and
    then resizes the crop to its original size. All pixels inside ``box`` change slightly. Pixels outside ``box`` do not
    change.

    The published script detects landmarks in the edited face. This function uses the frame's landmarks, because the
    edited face has the frame's pose. The square is aligned by eyes and mouth corners, and the edited expression moves
    the mouth corners by a few pixels. The square is as large as the crop, so only pixels near its border can differ.
    """
    left, top, right, bottom = (int(edge) for edge in box)
    quad = face_quad(points)
    pasted = paste_quad(crop_face(frame, box), extract_quad(face, quad, CROP_SIZE), quad)
    size = (right - left, bottom - top)
    frame[top:bottom, left:right] = cv2.resize(pasted, size, interpolation=cv2.INTER_LINEAR)
