"""Convert face images for D-Net, and paste its results into the frame."""

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
    """Return float32 [3, H, W] in [-1, 1] for uint8 [H, W, 3]."""
    scaled = image.astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(((scaled - _HALF) / _HALF).transpose(2, 0, 1))


def to_uint8(values: Float) -> Image:
    """Return uint8 [H, W, 3] for float32 [3, H, W] in [-1, 1], truncated as published."""
    scaled = (np.clip(values, -1, 1).transpose(1, 2, 0) + np.float32(1)) * _HALF * np.float32(255)
    return scaled.astype(np.uint8)


def paste_face(frame: Image, face: Image, box: Float, points: NDArray[np.float64]) -> None:
    """Paste an edited face uint8 [256, 256, 3] into ``frame`` uint8 [H, W, 3], in place.

    ``box``: the crop of the source face (left, top, right, bottom); ``points`` [68, 2]: the landmarks (ibug68) in the
    crop at 256 x 256. As published, the aligned square of the edited face is pasted over the crop at 256 x 256, and the
    crop is resized back: inside ``box`` all pixels change slightly, outside none does. The published script detects
    landmarks in the edited face; these are those of the frame, at the same pose. The square is aligned by eyes and
    mouth corners, which another expression moves by a few pixels, and is as large as the crop, so only pixels near its
    border can differ.
    """
    left, top, right, bottom = (int(edge) for edge in box)
    quad = face_quad(points)
    pasted = paste_quad(crop_face(frame, box), extract_quad(face, quad, CROP_SIZE), quad)
    size = (right - left, bottom - top)
    frame[top:bottom, left:right] = cv2.resize(pasted, size, interpolation=cv2.INTER_LINEAR)
