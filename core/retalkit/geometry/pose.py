"""Head pose from landmarks, and the head frame.

The head frame is the coordinate system of a person's frontal face: x right, y down, z away from the camera, origin near
the nose bridge, unit = distance between the outer eye corners (IOD).
``pixel = scale * rotation @ head + translation``.
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
"""Radians between the line from forehead (10) to nose base (2) and the vertical of a face that looks at the camera, in
MediaPipe's canonical face model: the nose base is 1.58 cm closer to the camera than the forehead and 10.35 cm below."""


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Rigid motion of the head in T frames; NaN in frames without a face."""

    scale: Float
    """float32 [T], pixels per IOD."""
    rotation: Float
    """float32 [T, 3, 3], proper rotations from the head frame to image axes."""
    translation: Float
    """float32 [T, 3], pixels."""

    def __getitem__(self, index: slice | NDArray[np.int64]) -> HeadPose:
        return HeadPose(self.scale[index], self.rotation[index], self.translation[index])

    def __len__(self) -> int:
        return len(self.scale)


def rigid_fit(points: Float, template: Float) -> HeadPose:
    """Fit the similarity from ``template`` [S, 3] (head frame) to ``points`` [T, S, 3] (pixels) in each frame.

    Rows that contain NaN give NaN.
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
    """Convert pixels [T, N, 3] to the head frame [T, N, 3]."""
    moved = landmarks - pose.translation[:, None, :]
    return (np.einsum("tij,tni->tnj", pose.rotation, moved) / pose.scale[:, None, None]).astype(np.float32)


def to_pixels(points: Float, pose: HeadPose) -> Float:
    """Convert head-frame points [T, N, 3] or [N, 3] to pixels [T, N, 3]."""
    if points.ndim == 2:
        points = np.broadcast_to(points, (len(pose), *points.shape))
    turned = np.einsum("tij,tnj->tni", pose.rotation, points)
    return (pose.scale[:, None, None] * turned + pose.translation[:, None, :]).astype(np.float32)


def person_template(landmarks: Float, rounds: int = 4) -> Float:
    """Return the mean face of one person in the head frame, float32 [478, 3], from mesh landmarks [T, 478, 3].

    Alternates between fitting poses and averaging.

    Raises:
        ValueError: no row is finite.
    """
    good = landmarks[np.isfinite(landmarks).all(axis=(1, 2))].astype(np.float64)
    if not len(good):
        raise ValueError("no frame has finite landmarks")
    stable = list(mesh478.STABLE)

    def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        return vector / np.linalg.norm(vector, axis=-1, keepdims=True)

    # The initial axes come from the face itself, so that the mean face looks at the camera.
    across = unit((good[:, 263] - good[:, 33]) + (good[:, 356] - good[:, 127]) + (good[:, 251] - good[:, 21]))
    down = good[:, mesh478.NOSE_BASE] - good[:, mesh478.FOREHEAD]
    down = unit(down - (down * across).sum(-1, keepdims=True) * across)
    back = np.cross(across, down)
    # Without this correction, every frontal face would appear to look up.
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
    """Return Euler angles in degrees, float32 [T, 3].

    Yaw is positive towards the viewer's right, pitch is positive downwards, roll is positive clockwise in the image.
    """
    turn = pose.rotation.astype(np.float64)
    yaw = np.arctan2(-turn[:, 0, 2], turn[:, 2, 2])
    pitch = np.arcsin(np.clip(-turn[:, 1, 2], -1, 1))
    roll = np.arctan2(turn[:, 1, 0], turn[:, 0, 0])
    return np.degrees(np.stack([yaw, pitch, roll], 1)).astype(np.float32)
