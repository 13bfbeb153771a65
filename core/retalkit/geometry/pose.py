"""Head pose from landmarks, and the head frame.

The head frame is a person's face seen from the front: x right, y down, z away from the camera, origin near the nose
bridge, unit = distance between the outer eye corners (IOD). ``pixel = scale * rotation @ head + translation``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry import mesh478

Float = NDArray[np.float32]

FOREHEAD_LEAN: Final = np.radians(8.66)
"""Angle between the line from forehead (10) to nose base (2) and the vertical of a face that looks at the camera, in
MediaPipe's canonical face model: the nose base stands 1.58 cm nearer than the forehead, 10.35 cm below it."""


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Rigid motion of the head in T frames; NaN where there is no face."""

    scale: Float
    """float32 [T], pixels for each IOD."""
    rotation: Float
    """float32 [T, 3, 3], proper rotations, head frame to image axes."""
    translation: Float
    """float32 [T, 3], pixels."""

    def __getitem__(self, index: slice | NDArray[np.int64]) -> HeadPose:
        return HeadPose(self.scale[index], self.rotation[index], self.translation[index])

    def __len__(self) -> int:
        return len(self.scale)


def rigid_fit(points: Float, template: Float) -> HeadPose:
    """Least-squares similarity from ``template`` [S, 3] (head frame) to ``points`` [T, S, 3] (pixels).

    Closed form by singular value decomposition: Umeyama, "Least-squares estimation of transformation parameters
    between two point patterns", PAMI 1991. Rows of NaN give NaN.
    """
    count = len(points)
    scale = np.full(count, np.nan, np.float32)
    rotation = np.full((count, 3, 3), np.nan, np.float32)
    translation = np.full((count, 3), np.nan, np.float32)
    good = np.isfinite(points).all(axis=(1, 2))
    if good.any():
        target = points[good].astype(np.float64)
        centre = target.mean(1, keepdims=True)
        base = template.astype(np.float64)
        base_centre = base.mean(0)
        spread = base - base_centre
        covariance = np.swapaxes(target - centre, 1, 2) @ spread
        left, singular, right = np.linalg.svd(covariance)
        sign = np.ones_like(singular)
        sign[:, 2] = np.sign(np.linalg.det(left @ right))
        turned = (left * sign[:, None, :]) @ right
        size = (singular * sign).sum(1) / (spread**2).sum()
        scale[good] = size
        rotation[good] = turned
        translation[good] = centre[:, 0] - size[:, None] * (turned @ base_centre)
    return HeadPose(scale, rotation, translation)


def to_head_frame(landmarks: Float, pose: HeadPose) -> Float:
    """Pixels [T, N, 3] -> head frame [T, N, 3]."""
    moved = landmarks - pose.translation[:, None, :]
    return (np.einsum("tij,tni->tnj", pose.rotation, moved) / pose.scale[:, None, None]).astype(np.float32)


def to_pixels(points: Float, pose: HeadPose) -> Float:
    """Head frame [T, N, 3] or [N, 3] -> pixels [T, N, 3]."""
    if points.ndim == 2:
        points = np.broadcast_to(points, (len(pose), *points.shape))
    turned = np.einsum("tij,tnj->tni", pose.rotation, points)
    return (pose.scale[:, None, None] * turned + pose.translation[:, None, :]).astype(np.float32)


def person_template(landmarks: Float, rounds: int = 4) -> Float:
    """Mean face of one person in the head frame, float32 [478, 3], from mesh landmarks [T, 478, 3] of many frames.

    Alternates pose and mean until both agree. Raises ValueError when no row is finite.
    """
    good = landmarks[np.isfinite(landmarks).all(axis=(1, 2))].astype(np.float64)
    if not len(good):
        raise ValueError("no frame has landmarks")
    stable = list(mesh478.STABLE)

    def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        return vector / np.linalg.norm(vector, axis=-1, keepdims=True)

    # A first frame of reference from the face's own axes, so that the mean face looks at the camera.
    across = unit((good[:, 263] - good[:, 33]) + (good[:, 356] - good[:, 127]) + (good[:, 251] - good[:, 21]))
    down = good[:, mesh478.NOSE_BASE] - good[:, mesh478.FOREHEAD]
    down = unit(down - (down * across).sum(-1, keepdims=True) * across)
    back = np.cross(across, down)
    # Without the lean every frontal face would count as looking up.
    down, back = (
        down * np.cos(FOREHEAD_LEAN) + back * np.sin(FOREHEAD_LEAN),
        back * np.cos(FOREHEAD_LEAN) - down * np.sin(FOREHEAD_LEAN),
    )
    axes = np.stack([across, down, back], -1)
    size = np.linalg.norm(good[:, mesh478.RIGHT_EYE_OUTER] - good[:, mesh478.LEFT_EYE_OUTER], axis=1)
    mean = (np.einsum("tij,tni->tnj", axes, good - good[:, [168]]) / size[:, None, None]).mean(0)
    for _ in range(rounds):
        pose = rigid_fit(good[:, stable].astype(np.float32), mean[stable].astype(np.float32))
        mean = to_head_frame(good.astype(np.float32), pose).astype(np.float64).mean(0)
        mean = mean / np.linalg.norm(mean[mesh478.RIGHT_EYE_OUTER] - mean[mesh478.LEFT_EYE_OUTER])
    return mean.astype(np.float32)


def yaw_pitch_roll(pose: HeadPose) -> Float:
    """float32 [T, 3] in degrees: yaw (positive: looks to the viewer's right), pitch (positive: down), roll
    (positive: clockwise as seen)."""
    turn = pose.rotation.astype(np.float64)
    yaw = np.arctan2(-turn[:, 0, 2], turn[:, 2, 2])
    pitch = np.arcsin(np.clip(-turn[:, 1, 2], -1, 1))
    roll = np.arctan2(turn[:, 1, 0], turn[:, 0, 0])
    return np.degrees(np.stack([yaw, pitch, roll], 1)).astype(np.float32)
