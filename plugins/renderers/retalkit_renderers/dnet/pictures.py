"""Pictures on the way into D-Net, out of it, and back into the frame."""

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


def network_picture(image: Image) -> Float:
    """uint8 [H, W, 3] -> float32 [3, H, W] in [-1, 1]."""
    scaled = image.astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(((scaled - _HALF) / _HALF).transpose(2, 0, 1))


def byte_picture(picture: Float) -> Image:
    """float32 [3, H, W] in [-1, 1] -> uint8 [H, W, 3]; what is between two values is cut off, as published."""
    scaled = (np.clip(picture, -1, 1).transpose(1, 2, 0) + np.float32(1)) * _HALF * np.float32(255)
    return scaled.astype(np.uint8)


def put_face(frame: Image, drawn: Image, box: Float, points: NDArray[np.float64]) -> None:
    """Puts a drawn face uint8 [256, 256, 3] into ``frame`` uint8 [H, W, 3], in place.

    ``box``: the crop that it was drawn of (left, top, right, bottom); ``points`` [68, 2]: the landmarks (ibug68) in
    the crop at 256 x 256. As published, the aligned square of the face is cut out of the drawn picture and pasted over
    the crop at 256 x 256, and the crop goes back at its own size: inside of ``box`` all pixels change a little, outside
    of it none. The published script looks for the landmarks in the drawn face; these are those of the frame, at the
    same pose. The square hangs on eyes and mouth corners, which a changed expression moves by a few pixels, and it
    reaches as far as the crop does, so that only pixels near its border can differ.
    """
    left, top, right, bottom = (int(edge) for edge in box)
    quad = face_quad(points)
    pasted = paste_quad(crop_face(frame, box), extract_quad(drawn, quad, CROP_SIZE), quad)
    size = (right - left, bottom - top)
    frame[top:bottom, left:right] = cv2.resize(pasted, size, interpolation=cv2.INTER_LINEAR)
