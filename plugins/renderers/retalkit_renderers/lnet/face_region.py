"""Face region that L-Net generates, the network's input images, and the output mask."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.face_crop import crop_face

from retalkit_renderers.lnet.network import SIDE

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

CROP: Final = 4 * SIDE
"""Side, in pixels, of the crops that the published pipeline generates for E-Net and downscales for L-Net."""
_EDGE: Final = 6
"""Width of the mask's fade at the box edge, in pixels of the 96-pixel face."""
_TRANSITION: Final = 10
"""Width of the mask's fade above the vertical centre, in pixels of the 96-pixel face."""


def face_box(detected: Float, chin: float, width: int, height: int) -> Float | None:
    """Return the detected box with its lower edge extended by ``chin`` box heights, float32 [4].

    The box is clipped to the frame and rounded. Returns None if the box is not finite, or if the clipped width or
    height is less than 2 pixels.
    """
    if not np.isfinite(detected).all():
        return None
    longer = detected.astype(np.float64) + np.array([0, 0, 0, chin * float(detected[3] - detected[1])])
    whole = np.clip(np.floor(longer + 0.5), 0, np.array([width, height, width, height]))
    return whole.astype(np.float32) if (whole[2:] - whole[:2] >= 2).all() else None


def network_faces(frame: Image, reference: Image, box: Float) -> Float:
    """Return the network's input, float32 [6, 96, 96], BGR in [0, 1].

    The first three channels are the face with a black lower half. The last three channels are the reference face. As in
    the published pipeline, crops are resized to 384 x 384 and then bilinearly to 96 x 96. The second resize averages
    the two central pixels of every four pixels in both directions.
    """
    faces = [crop_face(image, box, CROP).astype(np.float32) for image in (frame, reference)]
    faces[0][CROP // 2 :] = 0
    planes = np.concatenate([face[..., ::-1] for face in faces], axis=2)
    cells = planes.reshape(SIDE, 4, SIDE, 4, 6)[:, 1:3, :, 1:3]
    return np.ascontiguousarray(cells.mean((1, 3)).transpose(2, 0, 1) / 255, np.float32)


@cache
def lower_half() -> Float:
    """Return the read-only mask of the generated lower half with soft edges, float32 [96, 96] in [0, 1]."""
    edge = np.minimum(np.arange(SIDE), np.arange(SIDE)[::-1]) + 0.5
    across = _smoothstep(edge / _EDGE)
    down = np.minimum(across, _smoothstep((np.arange(SIDE) + 0.5 - (SIDE // 2 - _TRANSITION)) / _TRANSITION))
    mask = (down[:, None] * across).astype(np.float32)
    mask.setflags(write=False)
    return mask


def _smoothstep(share: NDArray[np.float64]) -> NDArray[np.float64]:
    step = np.clip(share, 0, 1)
    return step * step * (3 - 2 * step)
