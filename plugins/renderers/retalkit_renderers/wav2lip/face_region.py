"""Input images of Wav2Lip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.face_crop import crop_face

from retalkit_renderers.wav2lip.network import SIDE

Float = NDArray[np.float32]
Image = NDArray[np.uint8]


def network_faces(frame: Image, reference: Image, box: Float) -> Float:
    """Return the network's input, float32 [6, 96, 96], BGR in [0, 1].

    The first three channels are the face with a black lower half. The last three channels are the reference face. As in
    the published script, crops are resized to 96 x 96 with bilinear interpolation.
    """
    faces = [crop_face(image, box, SIDE).astype(np.float32) for image in (frame, reference)]
    faces[0][SIDE // 2 :] = 0
    planes = np.concatenate([face[..., ::-1] for face in faces], axis=2)
    return np.ascontiguousarray(planes.transpose(2, 0, 1) / np.float32(255))
