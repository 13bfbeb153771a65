"""Rendering of a frame with a modified lip gap.

Pixels between the lips are not displaced, because the upper teeth do not move relative to the head. If the gap becomes
larger, the frame's original mouth interior stays visible, and the newly exposed region is filled with a dark mouth
interior.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.stages import FaceEdit, FrameResult, PassedThrough

from retalkit_loudness.warp import CHEEKS, NECK, LipMove, MouthAxes, edge_index, smooth_step

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

MIN_WIDTH = 6.0
"""Minimum mouth width in pixels. Narrower mouths, in tiny faces or profile views, are not edited."""
MASK_RANGE = (0.03, 0.25)
"""Displacement in pixels at which the mask starts to increase from 0, and displacement at which it reaches 1."""
DARK = np.array([0.26, 0.15, 0.15], np.float32)
TONGUE = np.array([0.55, 0.36, 0.36], np.float32)
"""RGB factors of the mouth interior (``DARK``) and the tongue, relative to the lip colour. Relative factors adapt both
colours to the face's lighting.
"""
ENAMEL = np.array([1.05, 1.04, 1.0], np.float32)
"""RGB factors of the teeth, relative to the skin colour at half saturation."""
TEETH = 0.05
"""Distance from the closed lip line down to the lower edge of the upper teeth, at the mouth centre in eye distances."""
OPEN_RANGE = (0.025, 0.06)
"""Gap below which the lips are classified as closed, and gap above which they are classified as open, in eye distances.

The lower limit is above 0, because landmarks of closed lips are slightly apart.
"""
EDGE = 0.012
"""Width of the soft transition at the inner lip edges in eye distances. The transition is at least one pixel wide."""
SOFT = 0.025
"""Distance in eye distances over which the original mouth interior fades into the dark mouth interior."""


def render_mouth(
    image: Image, landmarks: Float, eyes: float, gap: float, confidence: float = 1.0, reason: str = ""
) -> FrameResult:
    """Return an edit that changes the lip gap to ``gap``, or the reason why the frame cannot be edited.

    ``image``: RGB uint8 [H, W, 3]. ``landmarks``: float32 [478, 3] in pixels. ``eyes``: distance between the outer eye
    corners in pixels, which is the unit of ``gap``. ``confidence``: factor that is applied to the mask. ``reason``:
    reason for a reduced confidence.
    """
    axes = MouthAxes.from_landmarks(landmarks, eyes)
    if axes.width < MIN_WIDTH:
        return PassedThrough("mouth too narrow")
    move = LipMove.to_gap(landmarks, axes, gap)
    sides, ends = np.array([-CHEEKS, CHEEKS] * 2), np.array([move.nose] * 2 + [move.chin + NECK] * 2)
    corners = axes.pixels(sides.astype(np.float32), ends.astype(np.float32))
    # Integer coordinates allow the rectangle to be pasted without resampling.
    left, top = (max(int(value), 0) for value in np.floor(corners.min(0)))
    right, bottom = (min(int(value) + 1, size) for value, size in zip(corners.max(0), image.shape[1::-1], strict=True))
    if right - left < 2 or bottom - top < 2:
        return PassedThrough("mouth outside the image")
    x, y = np.arange(left, right, dtype=np.float32)[None], np.arange(top, bottom, dtype=np.float32)[:, None]
    u, v = axes.coordinates(x, y)
    columns = edge_index(u)
    moved = move.displacement(u, v, columns) * np.float32(eyes)
    down = axes.down
    rendered = cv2.remap(
        image, x - moved * down[0], y - moved * down[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    mask = np.clip((np.abs(moved) - MASK_RANGE[0]) * np.float32(1 / (MASK_RANGE[1] - MASK_RANGE[0])), 0, 1)
    between = np.minimum(v - move.new_upper.take(columns), move.new_lower.take(columns) - v)
    between = np.clip(0.5 + between / np.float32(max(EDGE, 1 / eyes)), 0, 1) * (np.abs(u) < 0.5)
    # Prevent a dark line between closed lips.
    between *= smooth_step(move.gap_after, 0, 2 * EDGE)
    across, along, wide, high = cv2.boundingRect((between > 0).view(np.uint8))
    if wide and high:
        part = (slice(along, along + high), slice(across, across + wide))
        share = between[part][..., None]
        here = image[top:bottom, left:right][part].astype(np.float32)
        inside = _mouth_interior(here, *_colours(image, landmarks), move, u[part], v[part], columns[part])
        rendered[part] = np.clip(np.rint(rendered[part] * (1 - share) + inside * share), 0, 255).astype(np.uint8)
        mask[part] = np.maximum(mask[part], between[part])
    matrix = np.array([[1, 0, -left], [0, 1, -top]], np.float32)
    return FaceEdit(np.asarray(rendered, np.uint8), (mask * confidence).astype(np.float32), matrix, confidence, reason)


def _mouth_interior(
    here: Float, lips: Float, skin: Float, move: LipMove, u: Float, v: Float, columns: NDArray[np.intp]
) -> Float:
    """Return the pixels between the lips, RGB float32 [h, w, 3].

    ``here``: frame pixels, RGB float32 [h, w, 3]. ``lips`` and ``skin``: colours, RGB float32 [3].
    """
    upper, lower = move.new_upper.take(columns), move.new_lower.take(columns)
    deep = smooth_step((v - upper) / np.maximum(lower - upper, 1e-3), 0.45, 1.0)
    tongue = deep * float(smooth_step(move.gap_after, 0.05, 0.2))
    rendered = lips * (DARK + (TONGUE - DARK) * tongue[..., None])
    # The upper teeth are rendered as a single band that is shaded by the lip and darkens towards the mouth corners.
    end = (move.upper + move.lower).take(columns) / 2 + np.float32(TEETH) * (1 - 3 * np.square(u))
    light = (0.5 + 0.5 * smooth_step(v, upper - 0.01, upper + 0.04)) * (1 - 3 * np.square(u))
    teeth = (1 - smooth_step(v, end - 0.015, end)) * np.clip(light * 3, 0, 1)
    rendered = rendered + (light[..., None] * ENAMEL * (skin + skin.mean()) / 2 - rendered) * teeth[..., None]
    # The transition is sharp for small displacements to preserve the original mouth interior.
    soft = max(min(SOFT, abs(move.lower_shift)), 1e-3)
    depth = np.minimum(v - move.upper.take(columns), move.lower.take(columns) - v)
    shown = np.clip(0.5 + depth / soft, 0, 1)
    is_open = float(smooth_step(move.gap_before, *OPEN_RANGE))
    is_still = 1 - float(smooth_step(abs(move.lower_shift), 0.0, 0.03))
    return np.asarray(rendered + (here - rendered) * (shown * max(is_open, is_still))[..., None], np.float32)


def _colours(image: Image, landmarks: Float) -> tuple[Float, Float]:
    """Return the median colours of the lips and the surrounding skin, RGB float32 [3] each.

    The colours are sampled at landmarks. Landmarks outside the image are clipped to the image border.
    """
    both: list[Float] = []
    for names in (mesh478.MIDDLE_LIPS, mesh478.AROUND_MOUTH):
        points = np.rint(landmarks[list(names), :2]).astype(int)
        x, y = (np.clip(points[:, axis], 0, image.shape[1 - axis] - 1) for axis in (0, 1))
        both.append(np.median(image[y, x], axis=0).astype(np.float32))
    return both[0], both[1]
