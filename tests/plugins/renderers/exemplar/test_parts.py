"""The parts of ``exemplar``: warp, mouth model, choice, bank, cast, teeth, crossfade, texture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from exemplar_clips import NoReferences, TalkingClip
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import HeadPose, to_head_frame
from retalkit.observer import SilentObserver
from retalkit.stages import MouthMotion, StageContext
from retalkit.storage.cache import Folder
from retalkit_renderers.exemplar.bank import Bank, mouth_rectangle
from retalkit_renderers.exemplar.cast import Member, group_shots, member_of
from retalkit_renderers.exemplar.casting import know_clip
from retalkit_renderers.exemplar.choice import Chooser
from retalkit_renderers.exemplar.crossfade import morph, shown_exemplars
from retalkit_renderers.exemplar.inner_map import HeadPlane, inside_points, teeth_depth
from retalkit_renderers.exemplar.mouth_model import closed_rest, extra_coefficients, fit_mouth_model
from retalkit_renderers.exemplar.person import SILENT_GAIN, measure_person, own_rest, soft_limit
from retalkit_renderers.exemplar.selection import select_frames
from retalkit_renderers.exemplar.texture import detail_level, match_blur, restore_grain
from retalkit_renderers.mesh_warp import COLUMNS, ROWS, TriangleRaster, complete_points, make_topology

FLAT = HeadPose(np.array([100.0], np.float32), np.eye(3, dtype=np.float32)[None], np.zeros((1, 3), np.float32))


def heads_of(clip: TalkingClip) -> np.ndarray:
    return to_head_frame(clip.points, mesh_space.unpack_pose(clip.rows))


def know(clip: TalkingClip, folder: Path, most: int = 300) -> tuple[list[Member], Bank]:
    known = know_clip(clip, NoReferences(), most, StageContext(Folder(folder), SilentObserver()))
    assert known is not None
    return known


def motion(count: int, **columns: float) -> MouthMotion:
    rows = {name: np.zeros(count, np.float32) for name in ("opening", "width", "protrusion", "closure")}
    rows["speech"] = np.ones(count, np.float32)
    rows |= {name: np.full(count, value, np.float32) for name, value in columns.items()}
    return MouthMotion(**rows)


# ------------------------------------------------------------------------- mesh warp


def test_a_warp_onto_itself_moves_nothing(talking: TalkingClip) -> None:
    topology = make_topology(closed_rest(own_rest(heads_of(talking))))
    points = complete_points(talking.points[6, :, :2])
    raster = TriangleRaster(topology, points, (100, 90, 121, 133))
    map_x, map_y = raster.dense_map(points)
    assert map_x.shape == map_y.shape == (133, 121)
    assert np.abs(map_x - np.arange(100, 221)[None]).max() < 1e-2
    assert np.abs(map_y - np.arange(90, 223)[:, None]).max() < 1e-2


def test_a_warp_fetches_points_from_where_they_were(talking: TalkingClip) -> None:
    topology = make_topology(closed_rest(own_rest(heads_of(talking))))
    goal, source = talking.points[8, :, :2], talking.points[1, :, :2]
    high, wide = talking.images[0].shape[:2]
    raster = TriangleRaster(topology, complete_points(goal), (0, 0, wide, high))
    map_x, map_y = raster.dense_map(complete_points(source))
    for index in (0, 17, mesh478.LEFT_CORNER, mesh478.RIGHT_CORNER, 200):
        x, y = goal[index].round().astype(int)
        got = np.array([map_x[y, x], map_y[y, x]])
        assert np.linalg.norm(got - source[index] - (np.array([x, y]) - goal[index])) < 2.0
    part = raster.dense_map(complete_points(source), (100, 150, 60, 50))
    inside = (slice(6, -6), slice(6, -6))
    assert np.allclose(part[0][inside], map_x[150:200, 100:160][inside], atol=0.01)
    assert np.allclose(part[1][inside], map_y[150:200, 100:160][inside], atol=0.01)


# ------------------------------------------------------------------------- mouth model and person


def test_the_model_gives_the_opening_and_width_that_it_is_asked_for(talking: TalkingClip) -> None:
    heads = heads_of(talking)
    rest = closed_rest(own_rest(heads))
    model = fit_mouth_model(rest, heads)
    wanted = np.zeros((3, 9), np.float32)
    wanted[1, 0], wanted[2, :2] = 0.1, (0.06, 0.05)
    shapes = model.shape(wanted, np.ones(3, np.float32))
    assert mesh_space.opening(shapes) == pytest.approx([0, 0.1, 0.06], abs=0.012)
    assert mesh_space.width(shapes) - mesh_space.width(rest[None])[0] == pytest.approx([0, 0, 0.05], abs=0.005)
    shut = model.shape(wanted, np.zeros(3, np.float32))
    assert mesh_space.opening(shut).max() < 1e-5
    known = extra_coefficients(model, heads)
    back = model.shape(known, np.ones(len(heads), np.float32))
    lips = list(mesh478.OUTER_LIPS)
    assert np.abs(back[:, lips, :2] - heads[:, lips, :2]).mean() < 0.006


def test_a_person_who_never_speaks_still_gets_a_mouth(talking: TalkingClip) -> None:
    heads = heads_of(talking)
    closed = heads[[int(talking.opening().argmin())] * 3]
    person = measure_person(closed, mesh_space.opening(closed), None)
    assert person.silent
    coefficients, gap = person.targets(motion(2, opening=1.0))
    opened = person.model.shape(coefficients, gap)
    assert 0.8 * SILENT_GAIN * 0.2 < mesh_space.opening(opened)[0] <= SILENT_GAIN * 0.2 + 1e-3
    assert opened[0, mesh478.CHIN, 1] > person.model.rest[mesh478.CHIN, 1] + 0.03  # the jaw goes with it


def test_the_canonical_expression_is_taken_as_rest_and_closed(talking: TalkingClip) -> None:
    heads = heads_of(talking)
    wide_open = heads[int(talking.opening().argmax())]
    person = measure_person(heads, talking.opening(), wide_open)
    assert mesh_space.opening(person.model.rest[None])[0] < 1e-5
    assert person.model.rest[mesh478.FOREHEAD] == pytest.approx(wide_open[mesh478.FOREHEAD])


def test_the_limit_keeps_order_and_is_never_passed() -> None:
    value = np.linspace(0, 1, 200, dtype=np.float32)
    limited = soft_limit(value, 0.3)
    assert limited.max() <= 0.3
    assert (np.diff(limited) >= 0).all()
    assert np.allclose(limited[value < 0.24], value[value < 0.24])


# ------------------------------------------------------------------------- bank and choice


def test_a_long_clip_keeps_rare_mouths_in_a_small_bank(talking: TalkingClip) -> None:
    """600 frames of which all but a few show one mouth: the few must be in the bank, in runs."""
    order = np.concatenate([np.zeros(300, int), np.arange(48), np.zeros(252, int)])
    clip = replace(
        talking,
        images=[talking.images[index] for index in order],
        points=talking.points[order],
        numbers=np.zeros(600, np.int32),
    )
    chosen = select_frames(clip, 60)
    assert len(chosen) <= 60
    assert (np.diff(chosen) > 0).all()
    opening = clip.opening()
    assert opening[chosen].max() > 0.95 * opening.max()
    assert (np.diff(chosen) == 1).mean() > 0.85


def test_the_bank_gives_back_the_frame_s_own_pixels(talking: TalkingClip, tmp_path: Path) -> None:
    _, bank = know(talking, tmp_path)
    assert len(bank.exemplars) == 48
    left, top, width, height = mouth_rectangle(talking.points[7], *talking.images[7].shape[1::-1])
    assert (bank.crop(7) == talking.images[7][top : top + height, left : left + width]).all()


def test_pixels_know_an_open_mouth_from_a_closed_one(talking: TalkingClip, tmp_path: Path) -> None:
    _, bank = know(talking, tmp_path)
    assert np.corrcoef(bank.exemplars.gaps, talking.opening())[0, 1] > 0.8


def test_the_choice_plays_on_and_jumps_only_for_a_reason(talking: TalkingClip, tmp_path: Path) -> None:
    cast, bank = know(talking, tmp_path)
    chooser = Chooser(bank.exemplars, np.zeros(48, bool))
    heads, pose = bank.exemplars.heads, bank.exemplars.pose
    cost, _ = chooser.unary(heads[5:17], pose.rotation[5:17], pose.scale[5:17])
    assert chooser.best(cost, None).tolist() == list(range(5, 17))
    open_shape = heads[int(talking.opening().argmax())][None].repeat(4, 0)
    cost, distance = chooser.unary(open_shape, pose.rotation[:4], pose.scale[:4])
    path = chooser.best(cost, int(talking.opening().argmin()))
    assert talking.opening()[path].min() > 0.11
    assert distance[np.arange(4), path].max() < 0.05
    blocked = np.zeros(48, bool)
    blocked[path] = True
    cost, _ = Chooser(bank.exemplars, blocked).unary(open_shape, pose.rotation[:4], pose.scale[:4])
    assert not np.isin(chooser.best(cost, None), path).any()


def test_another_face_is_another_member_of_the_cast(talking: TalkingClip, tmp_path: Path) -> None:
    """Shots 0 and 2 are alike, shot 1 is lit quite differently; shot 3 is too short to be known."""
    dark = [(image * 0.45).astype(np.uint8) for image in talking.images]
    clip = replace(
        talking,
        images=[*talking.images, *dark, *talking.images, *[(image // 4) for image in talking.images[:6]]],
        points=np.concatenate([talking.points] * 3 + [talking.points[:6]]),
        numbers=np.repeat([0, 1, 2, 3], [48, 48, 48, 6]).astype(np.int32),
    )
    cast, bank = know(clip, tmp_path)
    assert [shots.tolist() for shots in group_shots(bank.exemplars)] == [[0, 2], [1]]
    assert member_of(cast, np.array([0, 1, 2, 3, -1], np.int32)).tolist() == [0, 1, 0, -1, -1]
    assert set(bank.exemplars.shots[cast[1].rows]) == {1}
    again, _ = know(clip, tmp_path)
    assert (again[0].person.model.basis == cast[0].person.model.basis).all()
    assert again[0].guard is not None and cast[0].guard is not None
    assert (again[0].guard.limit == cast[0].guard.limit).all()


# ------------------------------------------------------------------------- teeth, crossfade, texture


def test_upper_teeth_stay_with_the_head_and_lower_ones_with_the_jaw(talking: TalkingClip) -> None:
    heads = heads_of(talking)
    source = heads[int(talking.opening().argmax())]
    target = source.copy()
    target[list(mesh478.UPPER_LIP), 1] -= 0.012  # the upper lip rises: the teeth must not follow it
    plane = HeadPlane(FLAT, teeth_depth(source))
    inside = inside_points(target * 100, plane, target, source * 100, plane, source)
    rows = inside.reshape(COLUMNS, len(ROWS), 2)[COLUMNS // 2, :, 1] / 100
    upper, lower = target[13, 1], target[14, 1]
    here = upper + np.array(ROWS) * (lower - upper)
    linear = source[13, 1] + np.array(ROWS) * (source[14, 1] - source[13, 1])
    for row in (2, 3):
        assert abs(rows[row] - here[row]) < 0.35 * abs(linear[row] - here[row])
    lowered = source.copy()
    moves = [*mesh478.LOWER_LIP, 152, 148, 377, 175, 199]
    lowered[moves, 1] += 0.03
    inside = inside_points(lowered * 100, plane, lowered, source * 100, plane, source)
    rows = inside.reshape(COLUMNS, len(ROWS), 2)[COLUMNS // 2, :, 1] / 100
    here = source[13, 1] + np.array(ROWS) * (lowered[14, 1] - source[13, 1])
    assert abs(rows[-2] - (here[-2] - 0.027)) < 0.012
    assert (np.diff(rows) > 0).all()


def test_crossfades_lie_around_jumps_only() -> None:
    sources = np.arange(100, 120)
    index = np.array([0, 1, 2, 3, 12, 13, 14, 15, 15, 14], np.int32)
    shown = [shown_exemplars(index, sources, position) for position in range(len(index))]
    assert [one.share > 0 for one in shown] == [False, False, False, True, True, True, False, False, False, False]
    assert shown[3].second == 11 and shown[4].second == 4 and shown[5].second == 5
    assert all(0 <= one.share < 0.5 for one in shown)


def test_a_morph_moves_what_is_alike_instead_of_showing_it_twice() -> None:
    noise = np.random.default_rng(1).uniform(0, 255, (80, 140)).astype(np.float32)
    scene = cv2.GaussianBlur(noise, (0, 0), 3)
    scene = np.repeat(((scene - scene.mean()) * 6 + 128)[..., None], 3, axis=2).clip(0, 255)
    first, halfway, second = (np.ascontiguousarray(scene[:, shift : shift + 130]) for shift in (0, 2, 4))
    assert np.abs(morph(first, second, 0.0) - first).mean() < 1
    inside = (slice(8, -8), slice(8, -8))
    apart = np.abs(morph(first, second, 0.5) - halfway)[inside].mean()
    assert apart < 0.5 * np.abs((first + second) / 2 - halfway)[inside].mean()


def test_grain_comes_back_and_blur_is_matched() -> None:
    rng = np.random.default_rng(2)
    original = (120 + rng.normal(0, 6, (90, 120, 1)).repeat(3, 2)).astype(np.float32)
    soft = cv2.GaussianBlur(original, (0, 0), 0.6)
    skin, everywhere = np.ones((90, 120), np.uint8), np.ones((90, 120), np.float32)

    def detail(image: np.ndarray) -> float:
        return float(cv2.Laplacian(image[..., 0], cv2.CV_32F, ksize=3).var())

    lifted = restore_grain(soft, original, skin, everywhere)
    assert detail(soft) < 0.6 * detail(original)
    assert detail(soft) * 1.5 < detail(lifted) <= 1.02 * detail(original)
    assert restore_grain(original, soft, skin, everywhere) is original
    blurred = match_blur(original, detail_level(cv2.GaussianBlur(original, (0, 0), 2.0), skin), skin)
    assert detail(blurred) < 0.5 * detail(original)
    assert match_blur(original, detail_level(original, skin), skin) is original
