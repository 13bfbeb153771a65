"""Application of face edits and head motion to decoded frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import av
import numpy as np
from numpy.typing import NDArray

from retalkit.imaging.compositing import blend, placed_edit
from retalkit.media.frame_editing import apply_edits, blend_edit, edit_region
from retalkit.media.pixel_format import FORMATS, YUV420P
from retalkit.media.yuv_frames import frame_from_rgb16
from retalkit.photo_motion.animator import PhotoAnimator
from retalkit.stages import FaceEdit


def animated_frame(
    frame: av.VideoFrame, image: NDArray[np.uint8], animators: Sequence[PhotoAnimator], position: int
) -> av.VideoFrame:
    """Return the frame of a photo with moved heads. ``image``: RGB image of the frame with all edits."""
    deep = frame.format.name != YUV420P.name
    for animator in animators:
        animator.animate(image, position)
        left, top, width, height = animator.rectangle
        if width and height and not deep:
            patch = image[top : top + height, left : left + width]
            frame = apply_edits(frame, patch, left, top, animator.changed)
    if deep:
        frame = frame_from_rgb16(image.astype(np.uint16) * np.uint16(257), FORMATS[frame.format.name])
    return frame


def edit_frame(
    frame: av.VideoFrame, edit: FaceEdit, crop: Callable[[int, int, int, int], NDArray[np.uint8]] | None = None
) -> av.VideoFrame | None:
    """Return the edited frame, or None if the edit changes no pixel.

    ``crop``: returns the RGB image of a rectangle (left, top, width, height) of the frame, or None to convert it.
    """
    placed = placed_edit(frame.width, frame.height, edit)
    if placed is None:
        return None
    if frame.format.name != YUV420P.name:
        return blend_edit(frame, *placed)
    image, mask, left, top = placed
    return edit_region(frame, (left, top, mask.shape[1], mask.shape[0]), lambda under: blend(under, image, mask), crop)
