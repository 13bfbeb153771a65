"""The reconstructor ``shallow`` on a synthetic face with known poses, and on a real clip."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import HeadPose, to_head_frame, to_pixels, yaw_pitch_roll
from retalkit.geometry.smoothing import TrackSmoother
from retalkit.media.sources import open_source
from retalkit.observer import SilentObserver
from retalkit.stages import FaceBatch, FrameBatch, ReconstructionClip, Runtime, SourceInfo, StageContext
from retalkit.storage.cache import Folder
from retalkit_reconstructors.mean_faces import TrackSampler
from retalkit_reconstructors.plugin import ShallowConfig
from retalkit_reconstructors.shallow import STORED, ShallowReconstructor, ShallowSession
from scipy.spatial.transform import Rotation

from tests.plugins.boxes import box_of

Float = NDArray[np.float32]


class NoFrames:
    """A source with a length and no frames."""

    def __init__(self, count: int) -> None:
        self.info = SourceInfo(640, 480, count, count / 25)

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        return np.arange(start, stop) / 25.0

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        raise AssertionError("the shallow reconstructor reads no frames")


@dataclass
class Clip:
    """Landmarks and tracks of a clip; implements ``retalkit.stages.Analysis`` and records the longest read."""

    points: Float
    numbers: NDArray[np.int32]
    landmark_scheme: str = "mesh478"
    coefficient_space: str = ""
    longest_read: int = 0

    @property
    def source(self) -> NoFrames:
        return NoFrames(len(self.points))

    def landmarks(self, start: int, stop: int) -> Float:
        self.longest_read = max(self.longest_read, stop - start)
        return self.points[start:stop]

    def boxes(self, start: int, stop: int) -> Float:
        return box_of(self.points[start:stop])

    def coefficients(self, start: int, stop: int) -> Float:
        return np.zeros((stop - start, 0), np.float32)

    def tracks(self, start: int, stop: int) -> NDArray[np.int32]:
        return self.numbers[start:stop]

    def batch(self, indexes: NDArray[np.int64]) -> FaceBatch:
        frames = FrameBatch(np.zeros((len(indexes), 0, 0, 3), np.uint8), indexes / 25.0, indexes)
        return FaceBatch(
            frames, self.points[indexes], np.zeros((len(indexes), 0), np.float32), box_of(self.points[indexes])
        )


def random_face(seed: int) -> Float:
    """Return a face in the head frame: random but symmetric, with eye corners one unit apart."""
    points = np.random.default_rng(seed).uniform((-0.7, -0.5, -0.2), (0.7, 1.3, 0.8), (478, 3)).astype(np.float32)
    for left, right in ((33, 263), (127, 356), (21, 251), (54, 284), (162, 389), (133, 362), (98, 327)):
        points[left, 0] = -abs(points[left, 0])
        points[right] = points[left] * (-1, 1, 1)
    points[[33, 263], 0] = (-0.5, 0.5)
    points[[10, 2]] = ((0, -0.6, 0.1), (0, 0.56, -0.08))
    return points


def motion(count: int, seed: int = 0) -> HeadPose:
    wave = np.sin(np.arange(count)[:, None] * (0.11, 0.07, 0.05) + seed)
    turn = Rotation.from_euler("yxz", wave * np.radians((20, 10, 8))).as_matrix()
    shift = np.array([300, 200, 0]) + wave * (30, 20, 5)
    return HeadPose((100 + 5 * wave[:, 0]).astype(np.float32), turn.astype(np.float32), shift.astype(np.float32))


def opened(clip: Clip, folder: Path, config: ShallowConfig | None = None) -> ShallowSession:
    context = StageContext(cache=Folder(folder), observer=SilentObserver())
    stage = ShallowReconstructor(config or ShallowConfig(), Runtime())
    return stage.open(ReconstructionClip(analysis=clip), context)


def whole(session: ShallowSession, clip: Clip) -> Float:
    return session.reconstruct(clip.batch(np.arange(len(clip.points))))


@pytest.fixture
def clip() -> Clip:
    """60 frames: a track of 30, a gap of 5, a track of 25, with a mouth that opens and closes."""
    face = np.broadcast_to(random_face(1), (60, 478, 3)).copy()
    face[:, 13] = (0, 0.8, 0)
    face[:, 14] = (0, 0.8, 0)
    face[:, 14, 1] += 0.2 * (1 + np.sin(np.arange(60) * 0.6))
    points = to_pixels(face, motion(60))
    tracks = np.repeat([0, -1, 1], [30, 5, 25]).astype(np.int32)
    points[tracks < 0] = np.nan
    return Clip(points, tracks)


def test_known_poses_and_openings_are_recovered(clip: Clip, tmp_path: Path) -> None:
    out = whole(opened(clip, tmp_path), clip)
    assert out.shape == (60, mesh_space.COUNT)
    assert out.dtype == np.float32
    good = clip.numbers >= 0
    assert np.isnan(out[~good]).all()
    true, found = motion(60), mesh_space.unpack_pose(out)
    # The mean face may be rotated by a constant; the motion must be the same.
    drift = np.einsum("tji,tjk->tik", true.rotation[good], found.rotation[good])
    assert np.abs(drift - drift[0]).max() < 2e-3
    assert np.allclose(found.scale[good], true.scale[good], rtol=1e-3)
    opening = 0.2 * (1 + np.sin(np.arange(60) * 0.6))
    assert np.abs(out[good, mesh_space.OPENING] - opening[good]).max() < 2e-3
    assert np.ptp(out[good, mesh_space.WIDTH]) < 2e-3


def test_coefficients_reproduce_the_landmarks(clip: Clip, tmp_path: Path) -> None:
    out = whole(opened(clip, tmp_path), clip)
    pose = mesh_space.unpack_pose(out)
    head = mesh_space.head_landmarks(clip.points, out)
    assert np.nanmax(np.abs(to_pixels(head, pose) - clip.points)) < 0.01
    good = clip.numbers >= 0
    eyes = np.linalg.norm(head[good, 263] - head[good, 33], axis=1)
    assert np.allclose(eyes, 1, atol=2e-3)


@pytest.mark.parametrize("size", [1, 7, 60])
def test_batch_size_and_resume_do_not_change_bits(clip: Clip, tmp_path: Path, size: int) -> None:
    expected = whole(opened(clip, tmp_path / "a"), clip)
    resumed = opened(clip, tmp_path / "a")
    parts = [resumed.reconstruct(clip.batch(np.arange(k, min(k + size, 60)))) for k in range(0, 60, size)]
    assert np.array_equal(np.concatenate(parts), expected, equal_nan=True)


def test_stored_mean_faces_are_reused(clip: Clip, tmp_path: Path) -> None:
    expected = whole(opened(clip, tmp_path), clip)
    assert (tmp_path / STORED).is_file()
    clip.longest_read = 0
    session = opened(clip, tmp_path)
    assert clip.longest_read == 0
    assert np.array_equal(whole(session, clip), expected, equal_nan=True)


def test_frames_can_be_in_any_order(clip: Clip, tmp_path: Path) -> None:
    session = opened(clip, tmp_path)
    expected = whole(session, clip)
    order = np.array([50, 3, 4, 5, 31, 58, 0, 59])
    assert np.array_equal(session.reconstruct(clip.batch(order)), expected[order], equal_nan=True)


def test_two_people_have_two_mean_faces(tmp_path: Path) -> None:
    faces = [random_face(1), random_face(2), random_face(1)]
    points = np.concatenate([to_pixels(face, motion(40, seed)) for seed, face in enumerate(faces)])
    clip = Clip(points, np.repeat([0, 1, 2], 40).astype(np.int32))
    session = opened(clip, tmp_path)
    with np.load(tmp_path / STORED) as stored:
        assert list(stored["groups"]) == [0, 1, 0]
        assert stored["faces"].shape == (2, 478, 3)
    head = to_head_frame(points, mesh_space.unpack_pose(whole(session, clip)))
    for start in (0, 40, 80):
        assert np.ptp(head[start : start + 40], axis=0).max() < 2e-3


def test_short_track_uses_the_nearest_mean_face(tmp_path: Path) -> None:
    faces = np.repeat(np.stack([random_face(1), random_face(1) + 0.2, random_face(2)]), [30, 5, 30], axis=0)
    faces[30:35] += np.random.default_rng(0).normal(0, 0.05, (478, 3)).astype(np.float32)
    clip = Clip(to_pixels(faces, motion(65)), np.repeat([0, 1, 2], [30, 5, 30]).astype(np.int32))
    out = whole(opened(clip, tmp_path), clip)
    assert np.isfinite(out).all()
    with np.load(tmp_path / STORED) as stored:
        assert list(stored["groups"]) == [0, 0, 1]


def test_single_frame_is_fitted(clip: Clip, tmp_path: Path) -> None:
    photo = Clip(clip.points[:1], clip.numbers[:1])
    out = whole(opened(photo, tmp_path), photo)
    assert np.isfinite(out).all()
    assert np.abs(yaw_pitch_roll(mesh_space.unpack_pose(out))[:, 0]).max() < 25


@pytest.mark.parametrize("points", [478, 0])
def test_clip_without_a_face(tmp_path: Path, points: int) -> None:
    clip = Clip(np.full((9, points, 3), np.nan, np.float32), np.full(9, -1, np.int32))
    out = whole(opened(clip, tmp_path), clip)
    assert out.shape == (9, mesh_space.COUNT)
    assert np.isnan(out).all()


def test_empty_batch(clip: Clip, tmp_path: Path) -> None:
    assert opened(clip, tmp_path).reconstruct(clip.batch(np.empty(0, np.int64))).shape == (0, mesh_space.COUNT)


def test_long_clip_is_read_in_chunks(tmp_path: Path) -> None:
    points = np.tile(to_pixels(random_face(1), motion(500)), (3, 1, 1))
    clip = Clip(points, np.zeros(1500, np.int32))
    opened(clip, tmp_path)
    assert 0 < clip.longest_read <= 256


def test_samples_are_bounded_and_evenly_spread() -> None:
    sampler = TrackSampler(50)
    for index in range(2345):
        sampler.add(np.array([index], np.float32))
    kept = np.concatenate(sampler.kept)
    assert 50 <= len(kept) < 100
    assert len(set(np.diff(kept))) == 1
    assert kept[-1] > 2345 * 0.95


def test_real_head_moves_smoothly(shared_media: Path, tmp_path: Path) -> None:
    mediapipe_mesh = pytest.importorskip("retalkit_detectors.mediapipe_mesh")
    from retalkit_detectors.mediapipe_options import MediaPipeConfig

    source = open_source(shared_media / "silent_woman_1280x720p30.mp4")
    images = np.stack([image for _, image in source.read(range(90))])
    session = mediapipe_mesh.MediaPipeSession(MediaPipeConfig())
    found = session.detect(FrameBatch(images, np.arange(90) / 30, np.arange(90)))
    session.close()
    tracks = np.zeros(90, np.int32)
    smoother = TrackSmoother()
    ready = smoother.push(np.stack([faces[0].landmarks for faces in found]), tracks)
    landmarks = np.concatenate([ready, smoother.finish()])
    clip = Clip(landmarks, tracks)
    out = whole(opened(clip, tmp_path), clip)
    angles = yaw_pitch_roll(mesh_space.unpack_pose(out))
    assert np.diff(angles, 2, axis=0).std(0).max() < 0.25
    assert np.diff(out[:, 0], 2).std() / out[:, 0].mean() < 0.003
    assert np.percentile(out[:, mesh_space.OPENING], 98) < 0.03  # the mouth never opens in this clip
    assert 1.4 < np.median(out[:, mesh_space.FACE_HEIGHT]) < 2.2
    residual = to_head_frame(landmarks, mesh_space.unpack_pose(out))[:, list(mesh478.STABLE)].std(0)
    assert residual.max() < 0.03


def test_listing_imports_no_array_library() -> None:
    code = (
        "import sys, retalkit_reconstructors.plugin as p; list(p.retalkit_stages());"
        "heavy = {'cv2', 'mediapipe', 'scipy', 'torch'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
