"""Where a face lies in a frame, what of it goes into E-Net, and how the result is let in."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.face_crop import crop_face
from retalkit.imaging.compositing import composite
from retalkit.stages import FaceEdit

from retalkit_enhancers.enet.network import LOW_SIZE, SIZE

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

CHIN = 0.08
"""So much of its height is added to a face's box below, as for ``lnet``; published are 20 pixels in any picture."""
FEATHER = 24
"""Pixels of 384 over which a result fades in from the edge of its box."""
_WHOLE = 1e-2


def placed(edit: FaceEdit, frame: Image, detected: Float) -> tuple[Float, Float] | None:
    """What E-Net works from: the face's box float32 [4] and the face in it, float32 [96, 96, 3], RGB in [0, 1].

    L-Net's result is taken as it is; any other edit is put into the ``frame`` and cut out again at the face that the
    detector found (``detected`` float32 [4]). None where there is no such face.
    """
    height, width = frame.shape[:2]
    box = low_box(edit, width, height)
    if box is not None and edit.unrounded_image is not None:
        return box, edit.unrounded_image
    box = detected_box(detected, width, height)
    return None if box is None else (box, low_face(frame, edit, box))


def low_box(edit: FaceEdit, width: int, height: int) -> Float | None:
    """The box float32 [4] (left, top, right, bottom, whole numbers) of an edit that is L-Net's result, else None.

    Such an edit has exact pixels, is 96 x 96 and upright, and its box lies inside the ``width`` x ``height`` frame.
    """
    if edit.unrounded_image is None or edit.unrounded_image.shape[:2] != (LOW_SIZE, LOW_SIZE):
        return None
    matrix = np.asarray(edit.matrix, np.float64)
    scale = matrix[[0, 1], [0, 1]]
    if matrix[0, 1] or matrix[1, 0] or (scale <= 0).any():
        return None
    # Pixel 0 begins half a pixel before its centre, in the frame as in the edit.
    first = (-0.5 - matrix[:, 2]) / scale + 0.5
    box = np.concatenate([first, first + LOW_SIZE / scale])
    whole = np.round(box)
    inside = (whole >= 0).all() and (whole[2:] <= (width, height)).all()
    return whole.astype(np.float32) if inside and np.abs(box - whole).max() < _WHOLE else None


def detected_box(box: Float, width: int, height: int) -> Float | None:
    """The box float32 [4] for a face that the detector found at ``box`` float32 [4]: with room for the chin, cut at the
    frame, whole numbers. None where nothing of it is left, or no number says where it is."""
    if not np.isfinite(box).all():
        return None
    longer = box.astype(np.float64) + np.array([0, 0, 0, CHIN * float(box[3] - box[1])])
    whole = np.clip(np.floor(longer + 0.5), 0, np.array([width, height, width, height]))
    return whole.astype(np.float32) if (whole[2:] - whole[:2] >= 2).all() else None


def low_face(frame: Image, edit: FaceEdit, box: Float) -> Float:
    """float32 [96, 96, 3], RGB in [0, 1]: ``frame`` with an edit of any size and place in it, as L-Net would see it."""
    edited = frame.copy()
    composite(edited, edit)
    crop = crop_face(edited, box, SIZE).astype(np.float32)
    # Bilinear reduction to a quarter takes the middle two of four pixels in both directions.
    cells = crop.reshape(LOW_SIZE, SIZE // LOW_SIZE, LOW_SIZE, SIZE // LOW_SIZE, 3)
    return cells[:, 1:3, :, 1:3].mean((1, 3)) / 255


@cache
def full_mask(lower_half: bool) -> Float:
    """float32 [384, 384] in [0, 1], read-only: 1 inside the box, fading out towards its edges, so that none is seen;
    with ``lower_half`` 0 in the upper half and fading in below it."""
    edge = np.minimum(np.arange(SIZE), np.arange(SIZE)[::-1]) + 0.5
    across = _soft(edge)
    down = np.minimum(across, _soft(np.arange(SIZE) + 0.5 - SIZE // 2)) if lower_half else across
    mask = (down[:, None] * across).astype(np.float32)
    mask.setflags(write=False)
    return mask


def _soft(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    step = np.clip(distance / FEATHER, 0, 1)
    return step * step * (3 - 2 * step)


def blue_first(images: NDArray[np.generic]) -> NDArray[np.generic]:
    """[..., h, w, 3] with red first to [..., 3, h, w] with blue first, in one piece of memory."""
    return np.ascontiguousarray(np.moveaxis(images[..., ::-1], -1, -3))
