"""Coefficient space ``mesh``, which contains head pose and mouth measurements.

Coefficients are float32 [T, 13]. Frames without a face have NaN coefficients.

| columns | meaning | unit |
|---|---|---|
| 0 | scale | pixels per IOD (distance between the outer eye corners) |
| 1:4 | rotation vector: axis times angle | radians |
| 4:7 | translation | pixels |
| 7 | opening: gap between the inner lips at the centre | IOD |
| 8 | width: distance between the inner mouth corners | IOD |
| 9 | protrusion of the lips in front of the mouth corners | IOD |
| 10 | jaw: vertical distance from the nose base to the chin | IOD |
| 11 | corner lift: height of the mouth corners above the centre of the lips | IOD |
| 12 | face height: distance from the forehead (10) to the chin (152) | IOD |
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose, to_head_frame

Float = NDArray[np.float32]

COUNT: Final = 13
OPENING: Final = 7
WIDTH: Final = 8
PROTRUSION: Final = 9
JAW: Final = 10
CORNER_LIFT: Final = 11
FACE_HEIGHT: Final = 12


def opening(head: Float) -> Float:
    """Compute the gap between the inner lips in IOD, float32 [T], from head-frame landmarks [T, 478, 3].

    The gap is at least 0.
    """
    upper, lower = mesh478.INNER_LIP_PAIRS[0]
    return np.linalg.norm(head[:, lower] - head[:, upper], axis=-1).astype(np.float32)


def width(head: Float) -> Float:
    """Compute the distance between the inner mouth corners in the frontal plane, in IOD, float32 [T]."""
    gap = head[:, mesh478.INNER_RIGHT_CORNER, :2] - head[:, mesh478.INNER_LEFT_CORNER, :2]
    return np.linalg.norm(gap, axis=-1).astype(np.float32)


def face_height(head: Float) -> Float:
    """Compute the distance from the forehead to the chin in IOD, float32 [T]."""
    return np.linalg.norm(head[:, mesh478.CHIN] - head[:, mesh478.FOREHEAD], axis=-1).astype(np.float32)


def measures(head: Float) -> Float:
    """Compute coefficient columns 7 to 12, float32 [T, 6], from head-frame landmarks [T, 478, 3]."""
    middle = head[:, [0, 13, 14, 17]].mean(1)
    corners = head[:, [mesh478.LEFT_CORNER, mesh478.RIGHT_CORNER]].mean(1)
    protrusion = corners[:, 2] - middle[:, 2]
    jaw = head[:, mesh478.CHIN, 1] - head[:, mesh478.NOSE_BASE, 1]
    lift = head[:, [13, 14], 1].mean(1) - corners[:, 1]
    columns = [opening(head), width(head), protrusion, jaw, lift, face_height(head)]
    return np.stack(columns, 1).astype(np.float32)


def pack(pose: HeadPose, mouth: Float) -> Float:
    """Combine the pose and the mouth measurements [T, 6] into coefficients [T, 13]."""
    out = np.full((len(pose), COUNT), np.nan, np.float32)
    good = np.isfinite(pose.scale)
    out[good, 0] = pose.scale[good]
    out[good, 1:4] = _rodrigues(pose.rotation[good]).reshape(-1, 3)
    out[good, 4:7] = pose.translation[good]
    out[good, 7:] = mouth[good]
    return out


def unpack_pose(coefficients: Float) -> HeadPose:
    """Return the head pose from coefficients [T, 13]. NaN coefficients result in NaN poses."""
    rotation = np.full((len(coefficients), 3, 3), np.nan, np.float32)
    good = np.isfinite(coefficients[:, 0])
    rotation[good] = _rodrigues(coefficients[good, 1:4]).reshape(-1, 3, 3)
    return HeadPose(coefficients[:, 0].copy(), rotation, coefficients[:, 4:7].copy())


def head_landmarks(landmarks: Float, coefficients: Float) -> Float:
    """Convert mesh landmarks [T, 478, 3] from pixels to the head frame (IOD).

    The conversion uses the head pose from coefficients [T, 13].
    """
    return to_head_frame(landmarks, unpack_pose(coefficients))


def _rodrigues(rotations: Float) -> NDArray[np.float64]:
    """Convert rotation matrices [N, 3, 3] to rotation vectors [N, 3, 1], or rotation vectors [N, 3] to matrices."""
    return np.array([cv2.Rodrigues(rotation)[0] for rotation in rotations.astype(np.float64)])
