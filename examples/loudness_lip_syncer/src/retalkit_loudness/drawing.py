"""The pixels: a frame with its lips brought to another gap, and what shows between them.

What is between the lips keeps still with the head, as teeth do: lips that part show what the frame has there, and the
dark of the mouth where it has nothing.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.stages import FaceEdit, FrameResult, PassedThrough

from retalkit_loudness.warp import CHEEKS, NECK, LipMove, MouthAxes, column, smooth_step

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

LEAST_WIDTH = 6.0
"""Pixels of a mouth that is a handful of pixels, or seen from the side."""
SEEN = (0.03, 0.25)
"""Pixels of a move at which a pixel begins to count as edited and at which it fully does."""
DARK = np.array([0.26, 0.15, 0.15], np.float32)
TONGUE = np.array([0.55, 0.36, 0.36], np.float32)
"""RGB of the inside of the mouth and of the tongue in it, as a share of the colour of the lips, so that both go with
the light on the face."""
ENAMEL = np.array([1.05, 1.04, 1.0], np.float32)
"""The same of teeth, as a share of the skin's colour, half without its tint."""
TEETH = 0.05
"""The upper teeth end so far below the line where closed lips meet, in the middle of the mouth."""
OPEN = (0.025, 0.06)
"""Gaps at which the frame shows something between the lips: surely not, surely. Landmarks of closed lips lie apart."""
EDGE = 0.012
"""Width of the lips' inner edges, which are round; at least a pixel."""
SOFT = 0.025
"""Over this distance what the frame shows between the lips passes into the dark."""


def draw_mouth(
    image: Image, landmarks: Float, eyes: float, gap: float, confidence: float = 1.0, reason: str = ""
) -> FrameResult:
    """A frame (RGB uint8 [H, W, 3]) with its lips (landmarks float32 [478, 3] in pixels) brought to a ``gap``.

    ``eyes``: pixels between the outer eye corners; ``gap`` in that unit. ``confidence`` fades the edit.
    """
    axes = MouthAxes.of(landmarks, eyes)
    if axes.width < LEAST_WIDTH:
        return PassedThrough("mouth too narrow")
    move = LipMove.to_gap(landmarks, axes, gap)
    sides, ends = np.array([-CHEEKS, CHEEKS] * 2), np.array([move.nose] * 2 + [move.chin + NECK] * 2)
    corners = axes.pixels(sides.astype(np.float32), ends.astype(np.float32))
    # A rectangle of the frame's own pixels, so that nothing is resampled when the edit is put back.
    left, top = (max(int(value), 0) for value in np.floor(corners.min(0)))
    right, bottom = (min(int(value) + 1, size) for value, size in zip(corners.max(0), image.shape[1::-1], strict=True))
    if right - left < 2 or bottom - top < 2:
        return PassedThrough("mouth outside the picture")
    x, y = np.arange(left, right, dtype=np.float32)[None], np.arange(top, bottom, dtype=np.float32)[:, None]
    u, v = axes.coordinates(x, y)
    columns = column(u)
    moved = move.moved(u, v, columns) * np.float32(eyes)
    down = axes.down
    drawn = cv2.remap(image, x - moved * down[0], y - moved * down[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    mask = np.clip((np.abs(moved) - SEEN[0]) * np.float32(1 / (SEEN[1] - SEEN[0])), 0, 1)
    between = np.minimum(v - move.new_upper.take(columns), move.new_lower.take(columns) - v)
    between = np.clip(0.5 + between / np.float32(max(EDGE, 1 / eyes)), 0, 1) * (np.abs(u) < 0.5)
    # Lips that touch have nothing between them; without this a dark line would stay.
    between *= smooth_step(move.gap_after, 0, 2 * EDGE)
    across, along, wide, high = cv2.boundingRect((between > 0).view(np.uint8))
    if wide and high:
        part = (slice(along, along + high), slice(across, across + wide))
        share = between[part][..., None]
        here = image[top:bottom, left:right][part].astype(np.float32)
        inside = _inside(here, *_colours(image, landmarks), move, u[part], v[part], columns[part])
        drawn[part] = np.clip(np.rint(drawn[part] * (1 - share) + inside * share), 0, 255).astype(np.uint8)
        mask[part] = np.maximum(mask[part], between[part])
    matrix = np.array([[1, 0, -left], [0, 1, -top]], np.float32)
    return FaceEdit(np.asarray(drawn, np.uint8), (mask * confidence).astype(np.float32), matrix, confidence, reason)


def _inside(
    here: Float, lips: Float, skin: Float, move: LipMove, u: Float, v: Float, columns: NDArray[np.intp]
) -> Float:
    """RGB float32 [h, w, 3] of what shows between the lips; ``here``: what the frame has in that place."""
    upper, lower = move.new_upper.take(columns), move.new_lower.take(columns)
    deep = smooth_step((v - upper) / np.maximum(lower - upper, 1e-3), 0.45, 1.0)
    tongue = deep * float(smooth_step(move.gap_after, 0.05, 0.2))
    drawn = lips * (DARK + (TONGUE - DARK) * tongue[..., None])
    # A row of upper teeth in the shadow of the lip, darker to the sides: no single teeth.
    end = (move.upper + move.lower).take(columns) / 2 + np.float32(TEETH) * (1 - 3 * np.square(u))
    light = (0.5 + 0.5 * smooth_step(v, upper - 0.01, upper + 0.04)) * (1 - 3 * np.square(u))
    teeth = (1 - smooth_step(v, end - 0.015, end)) * np.clip(light * 3, 0, 1)
    drawn = drawn + (light[..., None] * ENAMEL * (skin + skin.mean()) / 2 - drawn) * teeth[..., None]
    # The passage is sharp where little moves: then the frame's own mouth is to be seen as it is.
    soft = max(min(SOFT, abs(move.way)), 1e-3)
    depth = np.minimum(v - move.upper.take(columns), move.lower.take(columns) - v)
    shown = np.clip(0.5 + depth / soft, 0, 1)
    is_open = float(smooth_step(move.gap_before, *OPEN))
    is_still = 1 - float(smooth_step(abs(move.way), 0.0, 0.03))
    return np.asarray(drawn + (here - drawn) * (shown * max(is_open, is_still))[..., None], np.float32)


def _colours(image: Image, landmarks: Float) -> tuple[Float, Float]:
    """RGB float32 [3] of the lips and of the skin around them: medians at their points, as far as they lie in the
    picture."""
    both: list[Float] = []
    for names in (mesh478.MIDDLE_LIPS, mesh478.AROUND_MOUTH):
        points = np.rint(landmarks[list(names), :2]).astype(int)
        x, y = (np.clip(points[:, axis], 0, image.shape[1 - axis] - 1) for axis in (0, 1))
        both.append(np.median(image[y, x], axis=0).astype(np.float32))
    return both[0], both[1]
