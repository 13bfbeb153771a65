"""Square face crops at identical positions in output and original frames, which are used as network inputs."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.face_crop import crop_boxes
from retalkit.metrics.scene import Scene, ScoredFrame
from retalkit.stages import Analysis

from retalkit_metrics.sessions import frame_pair

Image = NDArray[np.uint8]

MIN_SIDE: Final = 64
"""Minimum side of a face in pixels."""


class SquareCrops:
    """Face cropper that crops output and original frames at the position of the original's face.

    The crop is the FFHQ square, smoothed over a second. All variants of a clip are therefore compared over identical
    pixels. If the original was not tracked, the position of the output's face is used.
    """

    def __init__(self, scene: Scene, max_side: int) -> None:
        """Create the cropper.

        ``max_side``: side in pixels above which crops are reduced by area averaging. Crops are never enlarged.
        """
        self._scene = scene
        self._max_side = max_side

    def crop(self, frame: ScoredFrame) -> tuple[Image, Image] | None:
        """Return the crops from output and original, RGB uint8 [h, w, 3], or None if there is no face of at least 64
        pixels.

        Raises InputError if the frames differ in size.
        """
        original, image = frame_pair(frame)
        box = self._box(frame.index)
        if box is None or min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
            return None
        return self._resized(image, box), self._resized(original, box)

    def _box(self, index: int) -> tuple[int, int, int, int] | None:
        analysis, at = face_location(self._scene, index)
        if analysis is None or at >= analysis.source.info.frame_count:
            return None
        box = crop_boxes(analysis, at, at + 1)[0]
        if not np.isfinite(box).all():
            return None
        left, top, right, bottom = (int(edge) for edge in box)
        return left, top, right, bottom

    def _resized(self, image: Image, box: tuple[int, int, int, int]) -> Image:
        left, top, right, bottom = box
        crop = image[top:bottom, left:right]
        scale = self._max_side / max(crop.shape[:2])
        if scale >= 1:
            return crop
        size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
        return cv2.resize(crop, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def face_location(scene: Scene, index: int) -> tuple[Analysis | None, int]:
    """Return the analysis from which the face position in frame ``index`` is computed, and the corresponding frame
    index.

    The original's analysis is used if the original was tracked. Otherwise, the video's analysis is used.
    """
    if scene.original_analysis is None:
        return scene.output, index
    return scene.original_analysis, index if scene.sources is None else int(scene.sources[index])
