"""The rendered mouth interior on a real portrait."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose, person_template, rigid_fit, to_head_frame, to_pixels
from retalkit_renderers.editors.mouth_shapes import close_mouth
from retalkit_renderers.exemplar.mouth_interior import MouthColours, render_mouth_interior

STABLE = list(mesh478.STABLE)
INNER = list(mesh478.INNER_LIPS)


def opened(portrait: Any, gap: float, scale: float = 1.0) -> tuple[np.ndarray, HeadPose, np.ndarray]:
    """Return image, pose and head-frame target of the portrait with lips ``gap`` IOD apart."""
    points = portrait.landmarks * scale
    size = (round(portrait.image.shape[1] * scale), round(portrait.image.shape[0] * scale))
    image = cv2.resize(portrait.image, size, interpolation=cv2.INTER_CUBIC)
    pose = rigid_fit(points[None, STABLE], person_template(points[None])[STABLE])
    target = close_mouth(to_head_frame(points[None], pose)[0])
    across = target[:, 0] - target[13, 0]
    half = (target[mesh478.INNER_RIGHT_CORNER, 0] - target[mesh478.INNER_LEFT_CORNER, 0]) / 2
    profile = np.clip(1 - (across / half) ** 2, 0, 1)
    lower = list(mesh478.LOWER_LIP)
    target[lower, 1] += gap * profile[lower]
    return image, pose, target


def render(portrait: Any, gap: float, scale: float = 1.0, left: int = 0, top: int = 0):
    image, pose, target = opened(portrait, gap, scale)
    polygon = to_pixels(target, pose)[0, INNER, :2] - np.array([left, top], np.float32)
    crop = np.ascontiguousarray(image[top:, left:])
    colours = MouthColours.measure(image, portrait.landmarks * scale)
    rendered = render_mouth_interior(crop, polygon.astype(np.float32), pose, (left, top), target, colours)
    inside = np.zeros(crop.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(polygon).astype(np.int32)], 1)
    return crop, rendered, inside > 0, colours


def test_closed_mouth_is_unchanged(portrait: Any) -> None:
    crop, rendered, _, _ = render(portrait, 0.0)
    np.testing.assert_array_equal(rendered, crop)


def test_only_the_opening_changes(portrait: Any) -> None:
    crop, rendered, inside, _ = render(portrait, 0.12)
    near = cv2.dilate(inside.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    np.testing.assert_array_equal(rendered[~near], crop[~near])
    assert (rendered[inside] != crop[inside]).mean() > 0.9


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_teeth_are_above_the_dark_cavity(portrait: Any, scale: float) -> None:
    _, rendered, inside, colours = render(portrait, 0.14, scale)
    rows, columns = np.nonzero(inside)
    middle = abs(columns - columns.mean()) < 0.25 * np.ptp(columns)
    level = (rows - rows.min()) / np.ptp(rows)
    grey = rendered[rows, columns].astype(float)
    teeth = grey[middle & (level > 0.12) & (level < 0.30)]
    dark = grey[middle & (level > 0.5) & (level < 0.7)]
    assert np.percentile(teeth.mean(-1), 75) > 2 * np.median(dark.mean(-1))
    assert np.median(dark.mean(-1)) < 0.5 * colours.lips.mean()
    assert np.percentile(teeth.mean(-1), 75) < 1.2 * (colours.skin_left.mean() + colours.skin_right.mean()) / 2
    assert dark[:, 0].mean() > dark[:, 2].mean(), "the mouth interior is reddish"


def test_upper_teeth_do_not_move_with_the_jaw(portrait: Any) -> None:
    renderings = [render(portrait, gap, 2.0) for gap in (0.12, 0.18)]
    edges = []
    for _, rendered, inside, _ in renderings:
        rows, columns = np.nonzero(inside)
        column = rendered[rows.min() + 2 : rows.max() - 2, int(columns.mean()) + 6].astype(float).mean(-1)
        drop = np.gradient(column)
        edges.append(rows.min() + 2 + int(np.argmin(drop)))
    assert abs(edges[0] - edges[1]) <= 6
    assert np.nonzero(renderings[1][2])[0].max() - np.nonzero(renderings[0][2])[0].max() >= 8


def test_crop_has_the_same_pixels_as_the_frame(portrait: Any) -> None:
    _, whole, inside, _ = render(portrait, 0.12)
    _, part, _, _ = render(portrait, 0.12, left=21, top=33)
    near = np.nonzero(inside)
    box = (slice(near[0].min(), near[0].max()), slice(near[1].min(), near[1].max()))
    moved = part[box[0].start - 33 : box[0].stop - 33, box[1].start - 21 : box[1].stop - 21]
    assert np.abs(whole[box].astype(int) - moved).max() <= 1


def test_opening_outside_the_crop_is_ignored(portrait: Any) -> None:
    image, pose, target = opened(portrait, 0.12)
    polygon = to_pixels(target, pose)[0, INNER, :2].astype(np.float32) + 1000
    colours = MouthColours.measure(image, portrait.landmarks)
    np.testing.assert_array_equal(render_mouth_interior(image, polygon, pose, (0, 0), target, colours), image)


def test_colours_are_measured_on_the_person(portrait: Any) -> None:
    colours = MouthColours.measure(portrait.image, portrait.landmarks)
    lips, skin = colours.lips, (colours.skin_left + colours.skin_right) / 2
    assert lips[0] / lips[1] > skin[0] / skin[1], "lips are redder than skin"
    darker = MouthColours.measure((portrait.image // 2).astype(np.uint8), portrait.landmarks)
    np.testing.assert_allclose(darker.lips, lips / 2, atol=1.5)
