"""Input images of L-Net."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.face_crop import crop_face

from retalkit_renderers.lnet.network import SIDE

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

CROP: Final = 4 * SIDE
"""Side, in pixels, of the crops that the published pipeline generates for E-Net and downscales for L-Net."""


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
