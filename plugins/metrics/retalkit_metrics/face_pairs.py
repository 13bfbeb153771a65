"""The same square of an output frame and of the original frame, for networks that look at a whole face."""

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

SMALLEST: Final = 64
"""Pixels a side below which a face says nothing to the networks."""


class FaceSquares:
    """Cuts the face out of both frames at one place: that of the original's face (FFHQ's square, smoothed over a
    second), so that all variants of a clip are compared over the same pixels. Without the original's landmarks, the
    place is that of the output's face."""

    def __init__(self, scene: Scene, largest: int) -> None:
        """Crops with a side of more than ``largest`` pixels are shrunk to it by area means; none is enlarged."""
        self._scene = scene
        self._largest = largest

    def cut(self, frame: ScoredFrame) -> tuple[Image, Image] | None:
        """RGB uint8 [h, w, 3] of the output and of the original. None where there is no face, or one of less than 64
        pixels.

        Raises InputError where the frames differ in size.
        """
        original, image = frame_pair(frame)
        box = self._box(frame.index)
        if box is None or min(box[2] - box[0], box[3] - box[1]) < SMALLEST:
            return None
        return self._part(image, box), self._part(original, box)

    def _box(self, index: int) -> tuple[int, int, int, int] | None:
        analysis, at = place_in(self._scene, index)
        if analysis is None or at >= analysis.source.info.frame_count:
            return None
        box = crop_boxes(analysis, at, at + 1)[0]
        if not np.isfinite(box).all():
            return None
        left, top, right, bottom = (int(edge) for edge in box)
        return left, top, right, bottom

    def _part(self, image: Image, box: tuple[int, int, int, int]) -> Image:
        left, top, right, bottom = box
        part = image[top:bottom, left:right]
        scale = self._largest / max(part.shape[:2])
        if scale >= 1:
            return part
        size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
        return cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def place_in(scene: Scene, index: int) -> tuple[Analysis | None, int]:
    """The tracked face that says where the face is in frame ``index`` of the video, and that face's frame number: of
    the original where it was tracked, else of the video itself."""
    if scene.original_analysis is None:
        return scene.output, index
    return scene.original_analysis, index if scene.sources is None else int(scene.sources[index])
