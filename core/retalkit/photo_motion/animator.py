"""Animation of one photo: blinks and head motion for every output frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.schemes import IBUG68, MESH478, convert, convertible
from retalkit.photo_motion.eyelids import Blink, Eyelids
from retalkit.photo_motion.head_warp import HeadGeometry, HeadWarp

if TYPE_CHECKING:
    from retalkit.photo_motion.curves import MotionCurves

Image = NDArray[np.uint8]
Float = NDArray[np.float32]

VERSION: Final = 1
"""Version number in the cache key. The number must be increased when the pixels change."""

_MESH_LIDS: Final = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
"""Mesh indexes of the upper and the lower lid of the viewer's left and right eye."""
_IBUG_LIDS: Final = (
    ((36, 37, 38, 39), (36, 41, 40, 39)),
    ((42, 43, 44, 45), (42, 47, 46, 45)),
)


def supports(scheme: str) -> bool:
    """Return whether a photo with landmarks in ``scheme`` can be animated."""
    return IBUG68 in convertible(scheme)


def head_geometry(landmarks: Float, scheme: str) -> HeadGeometry:
    """Measure the head from finite landmarks in pixels, float32 [N, 2 or 3], in a scheme that ``supports`` accepts."""
    return HeadGeometry.of(convert(landmarks, scheme, IBUG68)[:, :2].astype(np.float64))


class PhotoAnimator:
    """Animation of one head in a photo. ``animate`` may be called for the frames in any order."""

    def __init__(self, photo: Image, landmarks: Float, scheme: str, opacity: Float, curves: MotionCurves) -> None:
        """Prepare the animation.

        ``photo``: RGB uint8 [H, W, 3]. ``landmarks``: finite landmarks of the face in pixels, float32 [N, 2 or 3].
        ``opacity``: opacity of the person in front of the background in [0, 1], float32 [H, W].
        """
        height, width = photo.shape[:2]
        ibug = convert(landmarks, scheme, IBUG68)[:, :2].astype(np.float64)
        points, lids = (landmarks, _MESH_LIDS) if scheme == MESH478 else (ibug, _IBUG_LIDS)
        self._curves = curves
        self._warp = HeadWarp(photo, opacity, head_geometry(landmarks, scheme))
        eyes = [Eyelids(*(np.asarray(points, np.float64)[list(row), :2] for row in eye)) for eye in lids]
        self._blinks = [Blink(eye, width, height) for eye in eyes]

    @property
    def rectangle(self) -> tuple[int, int, int, int]:
        """Rectangle (left, top, width, height) that contains all pixels that the animation may change."""
        return self._warp.rectangle

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Pixels of the rectangle that the animation may change, bool [height, width]."""
        return self._warp.changed

    def animate(self, image: Image, position: int) -> None:
        """Add the blinks and the head motion of the output frame at ``position`` in place.

        ``image``: the photo with the edits of this frame, RGB uint8 [H, W, 3]. Pixels that are not in ``changed`` stay
        bit-identical.
        """
        curves = self._curves
        for blink in self._blinks:
            blink.apply(image, float(curves.closure[position]))
        yaw, pitch, roll, shift = (
            float(curve[position]) for curve in (curves.yaw, curves.pitch, curves.roll, curves.shift)
        )
        moved = self._warp.apply(image, yaw, pitch, roll, shift)
        left, top, width, height = self.rectangle
        np.copyto(image[top : top + height, left : left + width], moved, where=self.changed[..., None])
