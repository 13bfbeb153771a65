"""Geometry of E-Net's face region: the face box, the low-resolution input, and the mask of the result."""

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
"""Downward extension of a face box as a fraction of its height, as in the lip syncer ``lnet``. The published code
extends every box by 20 pixels.
"""
FEATHER = 24
"""Width, in pixels of the 384-pixel face, over which the result fades in from the edge of its box."""
_TOLERANCE = 1e-2
"""Maximum deviation of box coordinates from integers, in pixels."""


def locate(edit: FaceEdit, frame: Image, detected: Float) -> tuple[Float, Float] | None:
    """Return the face box, float32 [4], and E-Net's input, float32 [96, 96, 3], RGB in [0, 1].

    L-Net's result is used unchanged. Any other edit is composited into ``frame``, which is then cropped to the
    detector's box (``detected``, float32 [4]). Returns None if the detector does not provide a valid box.
    """
    height, width = frame.shape[:2]
    box = low_box(edit, width, height)
    if box is not None and edit.unrounded_image is not None:
        return box, edit.unrounded_image
    box = detected_box(detected, width, height)
    return None if box is None else (box, low_face(frame, edit, box))


def low_box(edit: FaceEdit, width: int, height: int) -> Float | None:
    """Return the box of an edit from L-Net, float32 [4] (left, top, right, bottom, with integer values).

    Returns None for any other edit. An edit is attributed to L-Net if its image is unrounded, 96 x 96 and upright, and
    its box lies inside the ``width`` x ``height`` frame.
    """
    if edit.unrounded_image is None or edit.unrounded_image.shape[:2] != (LOW_SIZE, LOW_SIZE):
        return None
    matrix = np.asarray(edit.matrix, np.float64)
    scale = matrix[[0, 1], [0, 1]]
    if matrix[0, 1] or matrix[1, 0] or (scale <= 0).any():
        return None
    # In both the frame and the edit, a pixel's border is half a pixel before the pixel's centre.
    first = (-0.5 - matrix[:, 2]) / scale + 0.5
    box = np.concatenate([first, first + LOW_SIZE / scale])
    whole = np.round(box)
    inside = (whole >= 0).all() and (whole[2:] <= (width, height)).all()
    return whole.astype(np.float32) if inside and np.abs(box - whole).max() < _TOLERANCE else None


def detected_box(box: Float, width: int, height: int) -> Float | None:
    """Return the detector's ``box``, float32 [4], extended below the chin, clipped to the frame and rounded.

    Returns None if the box is not finite, or if the clipped box is less than 2 pixels wide or high.
    """
    if not np.isfinite(box).all():
        return None
    longer = box.astype(np.float64) + np.array([0, 0, 0, CHIN * float(box[3] - box[1])])
    whole = np.clip(np.floor(longer + 0.5), 0, np.array([width, height, width, height]))
    return whole.astype(np.float32) if (whole[2:] - whole[:2] >= 2).all() else None


def low_face(frame: Image, edit: FaceEdit, box: Float) -> Float:
    """Return the face in ``frame`` with ``edit`` composited, in L-Net's output format: float32 [96, 96, 3], RGB in [0,
    1].
    """
    edited = frame.copy()
    composite(edited, edit)
    crop = crop_face(edited, box, SIZE).astype(np.float32)
    # Bilinear reduction to a quarter of the size averages the two central pixels of every four pixels in both
    # directions.
    cells = crop.reshape(LOW_SIZE, SIZE // LOW_SIZE, LOW_SIZE, SIZE // LOW_SIZE, 3)
    return cells[:, 1:3, :, 1:3].mean((1, 3)) / 255


@cache
def full_mask(lower_half: bool) -> Float:
    """Return the read-only mask of the result, float32 [384, 384] in [0, 1]. The mask is 1 inside and fades to 0 at the
    edges.

    If ``lower_half`` is true, the mask is 0 in the upper half and fades in below the centre line.
    """
    edge = np.minimum(np.arange(SIZE), np.arange(SIZE)[::-1]) + 0.5
    across = _smoothstep(edge)
    down = np.minimum(across, _smoothstep(np.arange(SIZE) + 0.5 - SIZE // 2)) if lower_half else across
    mask = (down[:, None] * across).astype(np.float32)
    mask.setflags(write=False)
    return mask


def _smoothstep(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    step = np.clip(distance / FEATHER, 0, 1)
    return step * step * (3 - 2 * step)


def to_bgr_planes(images: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return RGB images [..., h, w, 3] as contiguous planes [..., 3, h, w] in BGR order."""
    return np.ascontiguousarray(np.moveaxis(images[..., ::-1], -1, -3))
