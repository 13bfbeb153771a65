"""Expression editors on a real face with known motion of mouth and head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import HeadPose, person_template, rigid_fit, to_head_frame, to_pixels
from retalkit.observer import SilentObserver
from retalkit.stages import ExpressionEditClip, FaceBatch, FrameBatch, Runtime, SourceInfo, StageContext
from retalkit.storage.cache import Folder
from retalkit_renderers.editors.config import FirstFrameConfig, NeutralWarpConfig
from retalkit_renderers.editors.first_frame import FirstFrameEditor
from retalkit_renderers.editors.mouth_shapes import close_mouth, smile
from retalkit_renderers.editors.neutral_warp import NeutralWarpEditor
from retalkit_renderers.editors.track_shapes import LONG_TRACK
from scipy.spatial.transform import Rotation

from tests.plugins.boxes import box_of

Float = NDArray[np.float32]


@dataclass
class Clip:
    """A constant image with moving landmarks; implements ``Analysis`` and ``Source``."""

    image: NDArray[np.uint8]
    points: Float
    pose: HeadPose
    numbers: NDArray[np.int32]
    landmark_scheme: str = "mesh478"
    coefficient_space: str = "mesh"
    reads: list[int] = field(default_factory=list)
    longest_read: int = 0

    @property
    def source(self) -> Clip:
        return self

    @property
    def info(self) -> SourceInfo:
        return SourceInfo(self.image.shape[1], self.image.shape[0], len(self.points), len(self.points) / 25)

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        return np.arange(start, stop) / 25.0

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for index in indexes:
            self.reads.append(index)
            yield index, self.image

    def landmarks(self, start: int, stop: int) -> Float:
        self.longest_read = max(self.longest_read, stop - start)
        return self.points[start:stop]

    def boxes(self, start: int, stop: int) -> Float:
        return box_of(self.points[start:stop])

    def coefficients(self, start: int, stop: int) -> Float:
        self.longest_read = max(self.longest_read, stop - start)
        head = to_head_frame(self.points[start:stop], self.pose[start:stop])
        return mesh_space.pack(self.pose[start:stop], mesh_space.measures(head))

    def tracks(self, start: int, stop: int) -> NDArray[np.int32]:
        return self.numbers[start:stop]

    def batch(self, *indexes: int) -> FaceBatch:
        rows = np.array(indexes, np.int64)
        images = np.repeat(self.image[None], len(rows), 0)
        coefficients = np.concatenate([self.coefficients(row, row + 1) for row in indexes])
        return FaceBatch(
            FrameBatch(images, rows / 25.0, rows), self.points[rows], coefficients, box_of(self.points[rows])
        )


def opened(head: Float, gap: float) -> Float:
    """Return the face with its jaw lowered from closed lips by ``gap`` IOD."""
    out = close_mouth(head)
    out[list(mesh478.LOWER_LIP), 1] += gap
    out[[mesh478.CHIN, 148, 377, 175, 199, 200], 1] += gap
    return out


def make_clip(portrait: Any, gaps: Float, *, tracks: NDArray[np.int32] | None = None, width: float = 1.0) -> Clip:
    """Return one frame per gap, with a slowly turning head; NaN: a frame without a face."""
    template = person_template(portrait.landmarks[None])
    still = rigid_fit(portrait.landmarks[None, list(mesh478.STABLE)], template[list(mesh478.STABLE)])
    base = to_head_frame(portrait.landmarks[None], still)[0]
    base[:, 0] *= width
    count = len(gaps)
    angles = np.radians(8) * np.sin(np.arange(count) / 3)
    turn = Rotation.from_rotvec(angles[:, None] * np.array([[0, 1, 0]])).as_matrix()
    pose = HeadPose(
        np.repeat(still.scale, count),
        (still.rotation[0] @ turn).astype(np.float32),
        np.repeat(still.translation, count, 0),
    )
    heads = np.stack([opened(base, float(np.nan_to_num(gap))) for gap in gaps])
    points = to_pixels(heads, pose)
    lost = ~np.isfinite(gaps)
    points[lost] = np.nan
    pose.scale[lost] = np.nan
    numbers = np.where(lost, -1, 0 if tracks is None else tracks).astype(np.int32)
    return Clip(portrait.image, points, pose, numbers)


def talking(count: int = 60) -> Float:
    return (0.12 * (1 - np.cos(np.arange(count) * 0.5))).astype(np.float32)


def context(folder: Path, *ports: str) -> StageContext:
    return StageContext(Folder(folder), SilentObserver(), requested_ports=frozenset(ports))


def mouth_of(clip: Clip, landmarks: Float, row: int) -> Float:
    return to_head_frame(landmarks[None], clip.pose[row : row + 1])[0]


def test_neutral_warp_closes_the_mouth_in_the_pose_of_each_frame(portrait: Any, tmp_path: Path) -> None:
    clip = make_clip(portrait, talking())
    given = (
        NeutralWarpEditor(NeutralWarpConfig(), Runtime())
        .open(ExpressionEditClip(analysis=clip), context(tmp_path))
        .edit(clip.batch(0, 6, 30))
    )
    assert given.images is None
    for place, row in enumerate((0, 6, 30)):
        head = mouth_of(clip, given.landmarks[place], row)
        assert mesh_space.opening(head[None])[0] < 0.01
        current = mouth_of(clip, clip.points[row], row)
        upper_face = current[:, 1] < current[mesh478.NOSE_BASE, 1]
        np.testing.assert_allclose(head[upper_face], current[upper_face], atol=2e-3)
    widest = mouth_of(clip, given.landmarks[1], 6)
    assert clip.points[6, mesh478.CHIN, 1] - given.landmarks[1, mesh478.CHIN, 1] > 5
    assert widest[mesh478.CHIN, 1] < mouth_of(clip, clip.points[6], 6)[mesh478.CHIN, 1] - 0.1


def test_smile_raises_and_spreads_the_corners(portrait: Any, tmp_path: Path) -> None:
    clip = make_clip(portrait, talking())
    heads = []
    for template in ("neutral", "smile"):
        editor = NeutralWarpEditor(NeutralWarpConfig(template=template), Runtime())
        given = editor.open(ExpressionEditClip(analysis=clip), context(tmp_path / template)).edit(clip.batch(3))
        heads.append(mouth_of(clip, given.landmarks[0], 3))
    corners = [mesh478.LEFT_CORNER, mesh478.RIGHT_CORNER]
    assert (heads[1][corners, 1] < heads[0][corners, 1] - 0.02).all()
    assert np.ptp(heads[1][corners, 0]) > np.ptp(heads[0][corners, 0]) + 0.03


def test_frames_without_a_face_have_nan_references(portrait: Any, tmp_path: Path) -> None:
    gaps = talking()
    gaps[10:14] = np.nan
    clip = make_clip(portrait, gaps)
    for editor in (NeutralWarpEditor(NeutralWarpConfig(), Runtime()), FirstFrameEditor(FirstFrameConfig(), Runtime())):
        given = editor.open(ExpressionEditClip(analysis=clip), context(tmp_path / type(editor).__name__)).edit(
            clip.batch(9, 10, 14)
        )
        assert np.isfinite(given.landmarks[[0, 2]]).all()
        assert np.isnan(given.landmarks[1]).all()


@pytest.mark.parametrize(
    "editor", [NeutralWarpEditor(NeutralWarpConfig(), Runtime()), FirstFrameEditor(FirstFrameConfig(), Runtime())]
)
def test_clip_without_a_face(portrait: Any, tmp_path: Path, editor: Any) -> None:
    clip = make_clip(portrait, np.full(20, np.nan, np.float32))
    session = editor.open(ExpressionEditClip(analysis=clip), context(tmp_path, "reference:image"))
    given = session.edit(clip.batch(0, 1))
    assert np.isnan(given.landmarks).all()
    np.testing.assert_array_equal(given.images[0], portrait.image)


def test_two_people_get_their_own_mouths(portrait: Any, tmp_path: Path) -> None:
    narrow, wide = make_clip(portrait, talking(LONG_TRACK + 5)), make_clip(portrait, talking(LONG_TRACK + 5), width=1.3)
    both = Clip(
        portrait.image,
        np.concatenate([narrow.points, wide.points]),
        HeadPose(*(np.concatenate([getattr(each.pose, name) for each in (narrow, wide)]) for name in POSE)),
        np.repeat(np.array([0, 1], np.int32), LONG_TRACK + 5),
    )
    given = (
        NeutralWarpEditor(NeutralWarpConfig(), Runtime())
        .open(ExpressionEditClip(analysis=both), context(tmp_path))
        .edit(both.batch(4, LONG_TRACK + 9))
    )
    widths = [
        mesh_space.width(mouth_of(both, given.landmarks[place], row)[None])[0]
        for place, row in enumerate((4, LONG_TRACK + 9))
    ]
    assert widths[1] / widths[0] == pytest.approx(1.3, rel=0.03)


POSE = ("scale", "rotation", "translation")


def test_short_track_uses_the_closed_mouth_of_a_long_one(portrait: Any, tmp_path: Path) -> None:
    gaps = np.concatenate([talking(LONG_TRACK + 5), np.full(8, 0.2, np.float32)])
    tracks = np.repeat(np.array([0, 1], np.int32), [LONG_TRACK + 5, 8])
    clip = make_clip(portrait, gaps, tracks=tracks)
    session = NeutralWarpEditor(NeutralWarpConfig(), Runtime()).open(
        ExpressionEditClip(analysis=clip), context(tmp_path)
    )
    np.testing.assert_array_equal(session.track_shapes.shapes[0], session.track_shapes.shapes[1])


def test_batch_size_and_reopening_do_not_change_bits(portrait: Any, tmp_path: Path) -> None:
    clip = make_clip(portrait, talking())
    editor = NeutralWarpEditor(NeutralWarpConfig(), Runtime())
    first = editor.open(ExpressionEditClip(analysis=clip), context(tmp_path, "reference:image"))
    together = first.edit(clip.batch(3, 4, 5))
    clip.longest_read = 0
    again = editor.open(ExpressionEditClip(analysis=clip), context(tmp_path, "reference:image"))
    assert clip.longest_read == 0, "the stored shapes must be used"
    for place, row in enumerate((3, 4, 5)):
        alone = again.edit(clip.batch(row))
        np.testing.assert_array_equal(alone.landmarks[0], together.landmarks[place])
        np.testing.assert_array_equal(alone.images[0], together.images[place])


def test_long_clip_is_read_in_chunks(portrait: Any, tmp_path: Path) -> None:
    clip = make_clip(portrait, talking(1500))
    NeutralWarpEditor(NeutralWarpConfig(), Runtime()).open(ExpressionEditClip(analysis=clip), context(tmp_path))
    assert clip.longest_read <= 512
    assert clip.reads == []


def test_requested_images_change_in_the_lower_face_only(portrait: Any, tmp_path: Path) -> None:
    clip = make_clip(portrait, talking())
    row = int(np.argmax(talking()))
    session = NeutralWarpEditor(NeutralWarpConfig(), Runtime()).open(
        ExpressionEditClip(analysis=clip), context(tmp_path, "reference:image")
    )
    image = session.edit(clip.batch(row)).images[0]
    assert image.dtype == np.uint8
    assert image.shape == portrait.image.shape
    apart = np.abs(image.astype(int) - portrait.image).max(-1)
    nose = int(clip.points[row, mesh478.NOSE_TIP, 1])
    assert apart[: nose - 30].max() == 0
    assert apart[nose:].max() > 30


def test_first_frame_transfers_the_first_mouth(portrait: Any, tmp_path: Path) -> None:
    gaps = talking()
    gaps[:5] = np.nan
    clip = make_clip(portrait, gaps)
    given = (
        FirstFrameEditor(FirstFrameConfig(), Runtime())
        .open(ExpressionEditClip(analysis=clip), context(tmp_path))
        .edit(clip.batch(5, 13))
    )
    first = mouth_of(clip, clip.points[5], 5)
    np.testing.assert_allclose(given.landmarks[0], clip.points[5], atol=0.05)
    opening = [mesh_space.opening(mouth_of(clip, given.landmarks[k], row)[None])[0] for k, row in enumerate((5, 13))]
    assert opening[1] == pytest.approx(mesh_space.opening(first[None])[0], abs=5e-3)
    assert abs(opening[1] - mesh_space.opening(mouth_of(clip, clip.points[13], 13)[None])[0]) > 0.02


def test_first_frame_image_follows_the_head(portrait: Any, tmp_path: Path) -> None:
    clip = make_clip(portrait, talking())
    clip.pose.translation[10, 0] += 12
    clip.points[10, :, 0] += 12
    clip.points[0] = clip.points[10] - np.array([12, 0, 0], np.float32)
    clip.pose.rotation[0] = clip.pose.rotation[10]
    session = FirstFrameEditor(FirstFrameConfig(), Runtime()).open(
        ExpressionEditClip(analysis=clip), context(tmp_path, "reference:image")
    )
    assert clip.reads == [0]
    image = session.edit(clip.batch(10)).images[0]
    x, y = clip.points[10, mesh478.NOSE_TIP, :2].round().astype(int)
    block = (slice(y - 15, y + 15), slice(x - 15, x + 15))
    moved = (slice(y - 15, y + 15), slice(x - 27, x + 3))
    assert np.abs(image[block].astype(int) - portrait.image[moved]).mean() < 2
    assert np.abs(image[:20].astype(int) - portrait.image[:20]).max() == 0


def test_closing_moves_the_lower_lip_more_than_the_upper(portrait: Any) -> None:
    clip = make_clip(portrait, np.array([0.2], np.float32))
    head = mouth_of(clip, clip.points[0], 0)
    closed = close_mouth(head)
    upper, lower = mesh478.INNER_LIP_PAIRS[0]
    assert closed[upper, 1] == pytest.approx(closed[lower, 1], abs=1e-5)
    assert head[lower, 1] - closed[lower, 1] > 3 * (closed[upper, 1] - head[upper, 1]) > 0
    assert closed[mesh478.CHIN, 1] < head[mesh478.CHIN, 1] - 0.1
    corners = [mesh478.LEFT_CORNER, mesh478.RIGHT_CORNER]
    np.testing.assert_allclose(closed[corners], head[corners], atol=0.04)
    assert not np.array_equal(smile(closed), closed)
