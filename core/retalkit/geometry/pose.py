"""Head pose estimation from landmarks, and conversion to the head frame.

The head frame is the coordinate system of a person's frontal face. The x axis points right, y down and z away from the
camera. The origin is near the nose bridge. The unit is the distance between the outer eye corners (IOD). The head
pose maps head-frame points to pixels:

``pixel = scale * rotation @ head + translation``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry import mesh478
from retalkit.geometry.similarity import fit_similarity

Float = NDArray[np.float32]

FOREHEAD_LEAN: Final = np.radians(8.66)
"""Angle in radians between the vertical and the line from the forehead (10) to the nose base (2) of a face that looks
at the camera. The angle follows from MediaPipe's canonical face model, in which the nose base is 1.58 cm closer to the
camera than the forehead and 10.35 cm below the forehead.
"""


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Rigid head pose in T frames. Frames without a face contain NaN."""

    scale: Float
    """Scale in pixels per IOD, float32 [T]."""
    rotation: Float
    """Proper rotations from the head frame to image axes, float32 [T, 3, 3]."""
    translation: Float
    """Translation in pixels, float32 [T, 3]."""

    def __getitem__(self, index: slice | NDArray[np.int64]) -> HeadPose:
        return HeadPose(self.scale[index], self.rotation[index], self.translation[index])

    def __len__(self) -> int:
        return len(self.scale)


def rigid_fit(points: Float, template: Float) -> HeadPose:
    """Fit the similarity transform from ``template`` to ``points`` in each frame.

    ``template``: head-frame points, [S, 3]. ``points``: points in pixels, [T, S, 3]. Frames whose points contain NaN
    result in NaN poses.
    """
    count = len(points)
    scale = np.full(count, np.nan, np.float32)
    rotation = np.full((count, 3, 3), np.nan, np.float32)
    translation = np.full((count, 3), np.nan, np.float32)
    for row, frame_points in enumerate(points):
        matrix = fit_similarity(template, frame_points)
        if matrix is None:
            continue
        size = np.cbrt(np.linalg.det(matrix[:, :3]))
        scale[row] = size
        rotation[row] = matrix[:, :3] / size
        translation[row] = matrix[:, 3]
    return HeadPose(scale, rotation, translation)


def to_head_frame(landmarks: Float, pose: HeadPose) -> Float:
    """Convert points [T, N, 3] from pixels to the head frame."""
    moved = landmarks - pose.translation[:, None, :]
    return (np.einsum("tij,tni->tnj", pose.rotation, moved) / pose.scale[:, None, None]).astype(np.float32)


def to_pixels(points: Float, pose: HeadPose) -> Float:
    """Convert points [T, N, 3] or [N, 3] from the head frame to pixels [T, N, 3]."""
    if points.ndim == 2:
        points = np.broadcast_to(points, (len(pose), *points.shape))
    turned = np.einsum("tij,tnj->tni", pose.rotation, points)
    return (pose.scale[:, None, None] * turned + pose.translation[:, None, :]).astype(np.float32)


def person_template(landmarks: Float, rounds: int = 4) -> Float:
    """Compute a person's mean face in the head frame, float32 [478, 3], from mesh landmarks [T, 478, 3].

    The algorithm alternates between pose fitting and averaging.

    Raises:
        ValueError: no frame has only finite landmarks.
    """
    good = landmarks[np.isfinite(landmarks).all(axis=(1, 2))].astype(np.float64)
    if not len(good):
        raise ValueError("cannot compute the mean face: no frame has only finite landmarks")
    stable = list(mesh478.STABLE)

    def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        return vector / np.linalg.norm(vector, axis=-1, keepdims=True)

    # The initial axes are estimated from the landmarks to orient the mean face towards the camera.
    across = unit((good[:, 263] - good[:, 33]) + (good[:, 356] - good[:, 127]) + (good[:, 251] - good[:, 21]))
    down = good[:, mesh478.NOSE_BASE] - good[:, mesh478.FOREHEAD]
    down = unit(down - (down * across).sum(-1, keepdims=True) * across)
    back = np.cross(across, down)
    # Without this correction, the estimated pose of every frontal face would have an upward pitch.
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
    """Compute yaw, pitch and roll in degrees, float32 [T, 3].

    Yaw is positive towards the viewer's right, pitch is positive downwards, and roll is positive clockwise in the
    image.
    """
    turn = pose.rotation.astype(np.float64)
    yaw = np.arctan2(-turn[:, 0, 2], turn[:, 2, 2])
    pitch = np.arcsin(np.clip(-turn[:, 1, 2], -1, 1))
    roll = np.arctan2(turn[:, 1, 0], turn[:, 0, 0])
    return np.degrees(np.stack([yaw, pitch, roll], 1)).astype(np.float32)
