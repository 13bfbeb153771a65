"""Encoding of frames and faces as small JPEG images."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.inspection.model import Picture

Image = NDArray[np.uint8]

_QUALITY = 86


def make_picture(name: str, image: Image, longest: int, alt: str = "") -> Picture:
    """Return an RGB image uint8 [H, W, 3] as a picture whose longer side is at most ``longest`` pixels."""
    height, width = image.shape[:2]
    scale = min(longest / max(height, width), 1.0)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return Picture(name, size[0], size[1], data.tobytes(), alt)


def around_face(image: Image, box: NDArray[np.float32], margin: float = 0.45) -> Image:
    """Return the square around a face box (left, top, right, bottom) with a margin relative to the longer side.

    The square is moved into the frame, and it is cropped if the frame is smaller.
    """
    height, width = image.shape[:2]
    centre = (np.asarray(box[:2], np.float64) + box[2:]) / 2
    side = float(max(box[2] - box[0], box[3] - box[1])) * (1 + 2 * margin)
    side = min(max(side, 8.0), height, width)
    left, top = np.clip(np.rint(centre - side / 2), 0, [width - side, height - side]).astype(int)
    return image[top : top + int(side), left : left + int(side)]
