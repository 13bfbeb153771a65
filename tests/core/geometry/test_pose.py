"""Head pose and the head frame, on a synthetic face."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import (
    FOREHEAD_LEAN,
    HeadPose,
    person_template,
    rigid_fit,
    to_head_frame,
    to_pixels,
    yaw_pitch_roll,
)
from scipy.spatial.transform import Rotation

Float = NDArray[np.float32]
STABLE = list(mesh478.STABLE)


@pytest.fixture
def face() -> Float:
    """A symmetric face that looks at the camera: random depth, eye corners one unit apart."""
    generator = np.random.default_rng(5)
    points = generator.uniform((-0.7, -0.6, -0.2), (0.7, 1.3, 0.8), (478, 3)).astype(np.float32)
    for left, right in ((33, 263), (127, 356), (21, 251), (54, 284), (162, 389), (133, 362), (98, 327)):
        points[left, 0] = -abs(points[left, 0])
        points[right] = points[left] * (-1, 1, 1)
    points[[33, 263], 0] = (-0.5, 0.5)
    points[168] = 0
    points[mesh478.FOREHEAD] = (0, -0.6, 0.1)
    drop = 1.2
    points[mesh478.NOSE_BASE] = (0, -0.6 + drop, 0.1 - drop * np.tan(FOREHEAD_LEAN))
    return points


def pose_of(angles: Float, scale: float = 90.0) -> HeadPose:
    """Pose of (yaw, pitch, roll) in degrees [T, 3] with the signs of ``yaw_pitch_roll``."""
    yaw, pitch, roll = np.radians(angles.T)
    zeros = np.zeros_like(yaw)
    turn = (
        Rotation.from_rotvec(np.stack([zeros, zeros, roll], 1))
        * Rotation.from_rotvec(np.stack([zeros, -yaw, zeros], 1))
        * Rotation.from_rotvec(np.stack([pitch, zeros, zeros], 1))
    )
    count = len(angles)
    shift = np.stack([np.linspace(300, 340, count), np.full(count, 200), np.full(count, 15)], 1)
    return HeadPose(np.full(count, scale, np.float32), turn.as_matrix().astype(np.float32), shift.astype(np.float32))


ANGLES = np.array([[0, 0, 0], [30, 0, 0], [-30, 0, 0], [0, 20, 0], [0, -20, 0], [0, 0, 15], [25, -10, -20]], np.float32)


def test_rotated_template_is_recovered(face: Float) -> None:
    true = pose_of(ANGLES)
    found = rigid_fit(to_pixels(face, true)[:, STABLE], face[STABLE])
    assert np.allclose(found.rotation, true.rotation, atol=1e-4)
    assert np.allclose(found.scale, 90, rtol=1e-5)
    assert np.allclose(found.translation, true.translation, atol=1e-2)
    assert np.allclose(to_head_frame(to_pixels(face, true), found), face[None], atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_signs_of_yaw_pitch_and_roll(face: Float, axis: int) -> None:
    angles = np.zeros((2, 3), np.float32)
    angles[:, axis] = (20, -20)
    pose = pose_of(angles)
    assert np.allclose(yaw_pitch_roll(pose), angles, atol=1e-3)
    nose = (to_pixels(face * 0 + np.array([0, 0, -1], np.float32), pose)[:, 0] - pose.translation) / 90
    eyes = to_pixels(face, pose)[:, [33, 263]]
    if axis == 0:
        assert nose[0, 0] > 0.3 > -0.3 > nose[1, 0]  # positive yaw: the nose points to the viewer's right
    elif axis == 1:
        assert nose[0, 1] > 0.3 > -0.3 > nose[1, 1]  # positive pitch: the nose points down
    else:
        assert eyes[0, 1, 1] > eyes[0, 0, 1]  # clockwise: the viewer's right eye is lower
        assert eyes[1, 1, 1] < eyes[1, 0, 1]


def test_template_faces_the_camera_for_any_head_pose(face: Float) -> None:
    pixels = to_pixels(face, pose_of(ANGLES + np.array([10, 5, 0], np.float32)))
    template = person_template(pixels)
    assert np.linalg.norm(template[263] - template[33]) == pytest.approx(1, abs=1e-5)
    fitted = rigid_fit(to_pixels(face, pose_of(ANGLES * 0))[:, STABLE], template[STABLE])
    assert np.abs(yaw_pitch_roll(fitted)).max() < 2


def test_template_without_a_face_is_rejected() -> None:
    with pytest.raises(ValueError, match="no frame"):
        person_template(np.full((3, 478, 3), np.nan, np.float32))


def test_frames_without_a_face_stay_nan(face: Float) -> None:
    pixels = to_pixels(face, pose_of(ANGLES))
    pixels[2] = np.nan
    pose = rigid_fit(pixels[:, STABLE], face[STABLE])
    packed = mesh_space.pack(pose, mesh_space.measures(to_head_frame(pixels, pose)))
    assert np.isnan(packed[2]).all()
    assert np.isfinite(np.delete(packed, 2, 0)).all()
    assert np.isnan(mesh_space.unpack_pose(packed).rotation[2]).all()


def test_packed_pose_is_unchanged(face: Float) -> None:
    pose = pose_of(ANGLES)
    pixels = to_pixels(face, pose)
    back = mesh_space.unpack_pose(mesh_space.pack(pose, mesh_space.measures(to_head_frame(pixels, pose))))
    assert np.allclose(back.rotation, pose.rotation, atol=1e-6)
    assert np.array_equal(back.translation, pose.translation)
    assert np.array_equal(back.scale, pose.scale)


def test_measures_do_not_depend_on_the_pose(face: Float) -> None:
    pose = pose_of(ANGLES)
    measured = mesh_space.measures(to_head_frame(to_pixels(face, pose), pose))
    assert np.ptp(measured, axis=0).max() < 1e-3


def test_result_does_not_depend_on_the_batch(face: Float) -> None:
    pixels = to_pixels(face, pose_of(ANGLES)) + np.random.default_rng(0).normal(0, 1, (7, 478, 3)).astype(np.float32)

    def coefficients(part: Float) -> Float:
        pose = rigid_fit(part[:, STABLE], face[STABLE])
        return mesh_space.pack(pose, mesh_space.measures(to_head_frame(part, pose)))

    single = np.concatenate([coefficients(pixels[k : k + 1]) for k in range(7)])
    assert np.array_equal(single, coefficients(pixels))
