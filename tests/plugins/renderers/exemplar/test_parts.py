"""The parts of ``exemplar``: warp, mouth model, exemplar bank and search, identities, teeth, crossfade, texture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from exemplar_clips import NoReferences, TalkingClip
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import HeadPose, to_head_frame, to_pixels
from retalkit.geometry.triangulation import delaunay
from retalkit.observer import SilentObserver
from retalkit.stages import MouthMotion, StageContext
from retalkit.storage.cache import Folder
from retalkit_renderers.exemplar.bank import mouth_rectangle
from retalkit_renderers.exemplar.bank_frames import select_bank_frames
from retalkit_renderers.exemplar.clip_model import ClipModel, load_or_build_clip_model
from retalkit_renderers.exemplar.crossfade import exemplar_mix, morph
from retalkit_renderers.exemplar.identities import group_tracks, identity_numbers
from retalkit_renderers.exemplar.mouth_model import closed_rest, fit_coefficients, fit_mouth_model
from retalkit_renderers.exemplar.person import NEVER_OPENS_GAIN, least_open_shape, measure_person, soft_limit
from retalkit_renderers.exemplar.teeth_warp import TeethPlane, interior_points, teeth_depth
from retalkit_renderers.exemplar.texture import detail_level, match_blur, restore_grain
from retalkit_renderers.exemplar.viterbi_search import ViterbiSearch
from retalkit_renderers.lip_thickness import MIDDLE, lip_thickness, relaxed
from retalkit_renderers.mesh_warp import COLUMNS, ROWS, TriangleRaster, make_topology, topology_points
from retalkit_renderers.triangle_index import triangle_index

FLAT = HeadPose(np.array([100.0], np.float32), np.eye(3, dtype=np.float32)[None], np.zeros((1, 3), np.float32))


def heads_of(clip: TalkingClip) -> np.ndarray:
    return to_head_frame(clip.points, mesh_space.unpack_pose(clip.rows))


def build(clip: TalkingClip, folder: Path, bank_size: int = 300) -> ClipModel:
    model = load_or_build_clip_model(clip, NoReferences(), bank_size, StageContext(Folder(folder), SilentObserver()))
    assert model is not None
    return model


def motion(count: int, **columns: float) -> MouthMotion:
    rows = {name: np.zeros(count, np.float32) for name in ("opening", "width", "protrusion", "closure")}
    rows["speech"] = np.ones(count, np.float32)
    rows |= {name: np.full(count, value, np.float32) for name, value in columns.items()}
    return MouthMotion(**rows)


# ------------------------------------------------------------------------- mesh warp


def test_warp_onto_the_same_shape_is_the_identity(talking: TalkingClip) -> None:
    topology = make_topology(closed_rest(least_open_shape(heads_of(talking))))
    points = topology_points(talking.points[6, :, :2])
    raster = TriangleRaster(topology, points, (100, 90, 121, 133))
    map_x, map_y = raster.dense_map(points)
    assert map_x.shape == map_y.shape == (133, 121)
    assert np.abs(map_x - np.arange(100, 221)[None]).max() < 1e-2
    assert np.abs(map_y - np.arange(90, 223)[:, None]).max() < 1e-2


def test_warp_maps_landmarks_to_their_source(talking: TalkingClip) -> None:
    topology = make_topology(closed_rest(least_open_shape(heads_of(talking))))
    goal, source = talking.points[8, :, :2], talking.points[1, :, :2]
    high, wide = talking.images[0].shape[:2]
    raster = TriangleRaster(topology, topology_points(goal), (0, 0, wide, high))
    map_x, map_y = raster.dense_map(topology_points(source))
    for index in (0, 17, mesh478.LEFT_CORNER, mesh478.RIGHT_CORNER, 200):
        x, y = goal[index].round().astype(int)
        got = np.array([map_x[y, x], map_y[y, x]])
        assert np.linalg.norm(got - source[index] - (np.array([x, y]) - goal[index])) < 2.0
    part = raster.dense_map(topology_points(source), (100, 150, 60, 50))
    inside = (slice(6, -6), slice(6, -6))
    assert np.allclose(part[0][inside], map_x[150:200, 100:160][inside], atol=0.01)
    assert np.allclose(part[1][inside], map_y[150:200, 100:160][inside], atol=0.01)


def test_triangles_are_rasterised_in_order_and_without_gaps() -> None:
    points = np.random.default_rng(4).uniform(0, [40, 30], (60, 2))
    triangles = delaunay(points)
    corners = points[triangles].view(np.complex128)[..., 0].T
    index = triangle_index(corners, 43, 33)
    assert index.shape == (33, 43)
    outlines = points[triangles].astype(np.float32)
    for (row, column), number in np.ndenumerate(index):
        distances = [cv2.pointPolygonTest(outline, (column, row), True) for outline in outlines]
        assert distances[number] > -0.3 if number < len(triangles) else max(distances) < 0
    # If triangles overlap, the last triangle is visible.
    twice = triangle_index(np.tile(corners, 2), 43, 33)
    assert (twice == np.where(index < len(triangles), index + len(triangles), 2 * len(triangles))).all()
    assert triangle_index(corners + 99, 43, 33).min() == len(triangles)


# ------------------------------------------------------------------------- mouth model and person


def test_mouth_model_reaches_the_requested_opening_and_width(talking: TalkingClip) -> None:
    heads = heads_of(talking)
    rest = closed_rest(least_open_shape(heads))
    model = fit_mouth_model(rest, heads)
    wanted = np.zeros((3, 9), np.float32)
    wanted[1, 0], wanted[2, :2] = 0.1, (0.06, 0.05)
    shapes = model.shape(wanted, np.ones(3, np.float32))
    assert mesh_space.opening(shapes) == pytest.approx([0, 0.1, 0.06], abs=0.012)
    assert mesh_space.width(shapes) - mesh_space.width(rest[None])[0] == pytest.approx([0, 0, 0.05], abs=0.005)
    shut = model.shape(wanted, np.zeros(3, np.float32))
    assert mesh_space.opening(shut).max() < 1e-5
    known = fit_coefficients(model, heads)
    back = model.shape(known, np.ones(len(heads), np.float32))
    lips = list(mesh478.OUTER_LIPS)
    assert np.abs(back[:, lips, :2] - heads[:, lips, :2]).mean() < 0.006


def test_mouth_model_of_a_person_who_never_speaks_can_open(talking: TalkingClip) -> None:
    heads = heads_of(talking)
    closed = heads[[int(talking.opening().argmin())] * 3]
    person = measure_person(closed, mesh_space.opening(closed), None)
    assert person.never_opens
    coefficients, gap = person.retarget(motion(2, opening=1.0))
    opened = person.model.shape(coefficients, gap)
    assert 0.8 * NEVER_OPENS_GAIN * 0.2 < mesh_space.opening(opened)[0] <= NEVER_OPENS_GAIN * 0.2 + 1e-3
    assert opened[0, mesh478.CHIN, 1] > person.model.rest[mesh478.CHIN, 1] + 0.03


def test_canonical_expression_becomes_the_closed_rest_shape(talking: TalkingClip) -> None:
    heads = heads_of(talking)
    wide_open = heads[int(talking.opening().argmax())]
    person = measure_person(heads, talking.opening(), wide_open)
    assert mesh_space.opening(person.model.rest[None])[0] < 1e-5
    assert person.model.rest[mesh478.FOREHEAD] == pytest.approx(wide_open[mesh478.FOREHEAD])


def test_soft_limit_is_monotonic_and_bounded() -> None:
    value = np.linspace(0, 1, 200, dtype=np.float32)
    limited = soft_limit(value, 0.3)
    assert limited.max() <= 0.3
    assert (np.diff(limited) >= 0).all()
    assert np.allclose(limited[value < 0.24], value[value < 0.24])


# ------------------------------------------------------------------------- bank and search


def test_small_bank_of_a_long_clip_contains_rare_mouths(talking: TalkingClip) -> None:
    """600 frames of which all but a few show the same mouth: the few must be in the bank, in runs."""
    order = np.concatenate([np.zeros(300, int), np.arange(48), np.zeros(252, int)])
    clip = replace(
        talking,
        images=[talking.images[index] for index in order],
        points=talking.points[order],
        numbers=np.zeros(600, np.int32),
    )
    chosen = select_bank_frames(clip, 60)
    assert len(chosen) <= 60
    assert (np.diff(chosen) > 0).all()
    opening = clip.opening()
    assert opening[chosen].max() > 0.95 * opening.max()
    assert (np.diff(chosen) == 1).mean() > 0.85


def test_small_bank_prefers_frames_with_a_large_face(talking: TalkingClip) -> None:
    order = np.tile(np.arange(48), 6)
    size = np.where(np.arange(len(order)) < 240, 0.3, 1.0).astype(np.float32)
    clip = replace(
        talking,
        images=[talking.images[index] for index in order],
        points=talking.points[order] * size[:, None, None],
        numbers=np.zeros(len(order), np.int32),
    )
    chosen = select_bank_frames(clip, 60)
    assert (chosen >= 240).mean() > 0.7


def test_pressed_lips_are_no_rest_shape_and_no_exemplar_of_a_closed_mouth(talking: TalkingClip, tmp_path: Path) -> None:
    exemplars = build(talking, tmp_path).bank.exemplars
    heads, pose = exemplars.heads, exemplars.pose
    closed = np.argsort(talking.opening())[:5]
    pressed = heads.copy()
    # The lips are rolled in: their outer edges are near their inner edges.
    for outer, inner in ((0, 13), (17, 14)):
        pressed[closed[:2], outer] += 0.7 * (heads[closed[:2], inner] - heads[closed[:2], outer])
    thickness = lip_thickness(pressed[:, list(MIDDLE)])
    assert np.flatnonzero(~relaxed(thickness)).tolist() == sorted(closed[:2])
    assert lip_thickness(least_open_shape(pressed)[None, list(MIDDLE)])[0] > 0.9 * np.median(thickness)
    altered = replace(exemplars, landmarks=to_pixels(pressed, pose))
    target = closed_rest(heads[closed[4]])[None]
    costs = [
        ViterbiSearch(each, np.zeros(48, bool)).unary_costs(target, pose.rotation[:1], pose.scale[:1])[0][0]
        for each in (exemplars, altered)
    ]
    assert (costs[1][closed[:2]] > costs[0][closed[:2]] + 0.2).all()


def test_search_avoids_exemplars_that_must_be_enlarged(talking: TalkingClip, tmp_path: Path) -> None:
    exemplars = build(talking, tmp_path).bank.exemplars
    heads, pose = exemplars.heads, exemplars.pose
    search = ViterbiSearch(exemplars, np.zeros(48, bool))
    costs = [search.unary_costs(heads[:1], pose.rotation[:1], zoom * pose.scale[:1])[0] for zoom in (0.3, 1, 1.5, 3)]
    rises = [float((cost - costs[1]).mean()) for cost in costs]
    assert rises[0] <= 0 < rises[2] < 0.03 and rises[3] > 0.3


def test_bank_returns_the_pixels_of_the_frame(talking: TalkingClip, tmp_path: Path) -> None:
    bank = build(talking, tmp_path).bank
    assert len(bank.exemplars) == 48
    left, top, width, height = mouth_rectangle(talking.points[7], *talking.images[7].shape[1::-1])
    assert (bank.crop(7) == talking.images[7][top : top + height, left : left + width]).all()


def test_pixel_gap_follows_the_opening(talking: TalkingClip, tmp_path: Path) -> None:
    bank = build(talking, tmp_path).bank
    assert np.corrcoef(bank.exemplars.gaps, talking.opening())[0, 1] > 0.8


def test_search_prefers_consecutive_frames_and_avoids_blocked_ones(talking: TalkingClip, tmp_path: Path) -> None:
    bank = build(talking, tmp_path).bank
    search = ViterbiSearch(bank.exemplars, np.zeros(48, bool))
    heads, pose = bank.exemplars.heads, bank.exemplars.pose
    cost, _ = search.unary_costs(heads[5:17], pose.rotation[5:17], pose.scale[5:17])
    assert search.best_path(cost, None).tolist() == list(range(5, 17))
    open_shape = heads[int(talking.opening().argmax())][None].repeat(4, 0)
    cost, distance = search.unary_costs(open_shape, pose.rotation[:4], pose.scale[:4])
    path = search.best_path(cost, int(talking.opening().argmin()))
    assert talking.opening()[path].min() > 0.11
    assert distance[np.arange(4), path].max() < 0.05
    blocked = np.zeros(48, bool)
    blocked[path] = True
    cost, _ = ViterbiSearch(bank.exemplars, blocked).unary_costs(open_shape, pose.rotation[:4], pose.scale[:4])
    assert not np.isin(search.best_path(cost, None), path).any()


def test_tracks_with_other_lighting_are_another_identity(talking: TalkingClip, tmp_path: Path) -> None:
    """Tracks 0 and 2 are alike, track 1 has other lighting; track 3 is too short for an identity."""
    dark = [(image * 0.45).astype(np.uint8) for image in talking.images]
    clip = replace(
        talking,
        images=[*talking.images, *dark, *talking.images, *[(image // 4) for image in talking.images[:6]]],
        points=np.concatenate([talking.points] * 3 + [talking.points[:6]]),
        numbers=np.repeat([0, 1, 2, 3], [48, 48, 48, 6]).astype(np.int32),
    )
    model = build(clip, tmp_path)
    identities, bank = model.identities, model.bank
    assert [tracks.tolist() for tracks in group_tracks(bank.exemplars)] == [[0, 2], [1]]
    assert identity_numbers(identities, np.array([0, 1, 2, 3, -1], np.int32)).tolist() == [0, 1, 0, -1, -1]
    assert set(bank.exemplars.tracks[identities[1].rows]) == {1}
    again = build(clip, tmp_path).identities
    assert (again[0].person.model.basis == identities[0].person.model.basis).all()
    assert again[0].occlusion_detector is not None and identities[0].occlusion_detector is not None
    assert (again[0].occlusion_detector.tolerance == identities[0].occlusion_detector.tolerance).all()


# ------------------------------------------------------------------------- teeth, crossfade, texture


def test_upper_teeth_follow_the_head_and_lower_teeth_the_jaw(talking: TalkingClip) -> None:
    heads = heads_of(talking)
    source = heads[int(talking.opening().argmax())]
    target = source.copy()
    target[list(mesh478.UPPER_LIP), 1] -= 0.012  # the upper lip rises: the teeth must not mouth_weights it
    plane = TeethPlane(FLAT, teeth_depth(source))
    inside = interior_points(target * 100, plane, target, source * 100, plane, source)
    rows = inside.reshape(COLUMNS, len(ROWS), 2)[COLUMNS // 2, :, 1] / 100
    upper, lower = target[13, 1], target[14, 1]
    here = upper + np.array(ROWS) * (lower - upper)
    linear = source[13, 1] + np.array(ROWS) * (source[14, 1] - source[13, 1])
    for row in (2, 3):
        assert abs(rows[row] - here[row]) < 0.35 * abs(linear[row] - here[row])
    lowered = source.copy()
    moves = [*mesh478.LOWER_LIP, 152, 148, 377, 175, 199]
    lowered[moves, 1] += 0.03
    inside = interior_points(lowered * 100, plane, lowered, source * 100, plane, source)
    rows = inside.reshape(COLUMNS, len(ROWS), 2)[COLUMNS // 2, :, 1] / 100
    here = source[13, 1] + np.array(ROWS) * (lowered[14, 1] - source[13, 1])
    assert abs(rows[-2] - (here[-2] - 0.027)) < 0.012
    assert (np.diff(rows) > 0).all()


def test_crossfades_are_at_jumps_only() -> None:
    sources = np.arange(100, 120)
    index = np.array([0, 1, 2, 3, 12, 13, 14, 15, 15, 14], np.int32)
    mixes = [exemplar_mix(index, sources, position) for position in range(len(index))]
    assert [mix.share > 0 for mix in mixes] == [False, False, False, True, True, True, False, False, False, False]
    assert mixes[3].secondary == 11 and mixes[4].secondary == 4 and mixes[5].secondary == 5
    assert all(0 <= mix.share < 0.5 for mix in mixes)


def test_morph_aligns_shifted_images() -> None:
    noise = np.random.default_rng(1).uniform(0, 255, (80, 140)).astype(np.float32)
    scene = cv2.GaussianBlur(noise, (0, 0), 3)
    scene = np.repeat(((scene - scene.mean()) * 6 + 128)[..., None], 3, axis=2).clip(0, 255)
    first, halfway, second = (np.ascontiguousarray(scene[:, shift : shift + 130]) for shift in (0, 2, 4))
    assert np.abs(morph(first, second, 0.0) - first).mean() < 1
    inside = (slice(8, -8), slice(8, -8))
    apart = np.abs(morph(first, second, 0.5) - halfway)[inside].mean()
    assert apart < 0.5 * np.abs((first + second) / 2 - halfway)[inside].mean()


def test_grain_is_restored_and_blur_is_matched() -> None:
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
