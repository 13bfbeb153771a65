"""Which part of a frame L-Net sees, what it is shown of it, and how its face is let in."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.face_crop import crop_face

from retalkit_renderers.lnet.network import SIDE

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

CUT: Final = 4 * SIDE
"""Pixels a side of the crops that the published pipeline makes for E-Net and reduces for L-Net."""
_EDGE: Final = 6
"""Pixels of 96 over which the face fades in from the edge of its box."""
_RISE: Final = 10
"""Pixels of 96 above the middle over which the lower half fades in."""


def face_box(detected: Float, chin: float, width: int, height: int) -> Float | None:
    """The box float32 [4] (left, top, right, bottom, whole numbers) of a face that was detected at ``detected``
    float32 [4]: lengthened below by ``chin`` of its height, cut at the frame.

    None where nothing of it is left, or no number says where it is.
    """
    if not np.isfinite(detected).all():
        return None
    longer = detected.astype(np.float64) + np.array([0, 0, 0, chin * float(detected[3] - detected[1])])
    whole = np.clip(np.floor(longer + 0.5), 0, np.array([width, height, width, height]))
    return whole.astype(np.float32) if (whole[2:] - whole[:2] >= 2).all() else None


def network_faces(frame: Image, reference: Image, box: Float) -> Float:
    """float32 [6, 96, 96] in [0, 1], blue first: the frame's face with its lower half black, then the reference's.

    Crops go through 384 x 384 as published, and from there bilinearly to 96: the mean of the middle two of four pixels
    in both directions.
    """
    faces = [crop_face(image, box, CUT).astype(np.float32) for image in (frame, reference)]
    faces[0][CUT // 2 :] = 0
    planes = np.concatenate([face[..., ::-1] for face in faces], axis=2)
    cells = planes.reshape(SIDE, 4, SIDE, 4, 6)[:, 1:3, :, 1:3]
    return np.ascontiguousarray(cells.mean((1, 3)).transpose(2, 0, 1) / 255, np.float32)


@cache
def lower_half() -> Float:
    """float32 [96, 96] in [0, 1], read-only: the half that the network draws, without an edge that is seen."""
    edge = np.minimum(np.arange(SIDE), np.arange(SIDE)[::-1]) + 0.5
    across = _soft(edge / _EDGE)
    down = np.minimum(across, _soft((np.arange(SIDE) + 0.5 - (SIDE // 2 - _RISE)) / _RISE))
    mask = (down[:, None] * across).astype(np.float32)
    mask.setflags(write=False)
    return mask


def _soft(share: NDArray[np.float64]) -> NDArray[np.float64]:
    step = np.clip(share, 0, 1)
    return step * step * (3 - 2 * step)
