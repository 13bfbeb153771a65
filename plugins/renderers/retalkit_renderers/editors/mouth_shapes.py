"""Lower-face shape operations in the head frame: mouth closure, mouth corner displacement and shape transfer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose, to_pixels

Float = NDArray[np.float32]

UPPER_SHARE = 0.15
"""Fraction of the gap that the upper lip closes. The jaw closes the remaining fraction."""
SMILE_OUT = 0.035
SMILE_UP = 0.045
"""Upward displacement of the mouth corners in the ``smile`` template, in IOD."""


def close_mouth(shape: Float) -> Float:
    """Return the shape with raised lower lip and chin and closed inner lips, float32 [478, 3] in the head frame."""
    closed = shape.astype(np.float32, copy=True)
    pairs = sorted(mesh478.INNER_LIP_PAIRS, key=lambda pair: float(shape[pair[0], 0] + shape[pair[1], 0]))
    upper = np.array([pair[0] for pair in pairs])
    lower = np.array([pair[1] for pair in pairs])
    across = (shape[upper, 0] + shape[lower, 0]) / 2
    gaps = np.maximum(shape[lower, 1] - shape[upper, 1], 0)
    # The lips meet at the mouth corners, so the gap is zero there.
    left, right = shape[mesh478.INNER_LEFT_CORNER, 0], shape[mesh478.INNER_RIGHT_CORNER, 0]
    knots = np.concatenate([[min(left, across[0] - 1e-3)], across, [max(right, across[-1] + 1e-3)]])
    profile = np.interp(shape[:, 0], knots, np.concatenate([[0], gaps, [0]])).astype(np.float32)
    middle = float(gaps[len(gaps) // 2])
    lower_lip, upper_lip = list(mesh478.LOWER_LIP), list(mesh478.UPPER_LIP)
    closed[lower_lip, 1] -= (1 - UPPER_SHARE) * profile[lower_lip]
    closed[upper_lip, 1] += UPPER_SHARE * profile[upper_lip]
    skin = np.ones(len(shape), bool)
    skin[list(mesh478.LIPS)] = False
    skin[mesh478.MESH_COUNT :] = False
    centre = float(shape[[13, 14], 0].mean())
    below = skin & (shape[:, 1] > shape[list(mesh478.INNER_LIP_PAIRS[0]), 1].mean())
    falloff = np.clip(1 - ((shape[:, 0] - centre) / 0.6) ** 2, 0, 1)
    closed[below, 1] -= (1 - UPPER_SHARE) * middle * falloff[below]
    meeting = (closed[upper] + closed[lower]) / 2
    closed[upper], closed[lower] = meeting, meeting
    return closed


def smile(shape: Float) -> Float:
    """Return the shape with its mouth corners displaced outwards and upwards, float32 [478, 3] in the head frame."""
    out = shape.astype(np.float32, copy=True)
    centre = shape[[13, 14]].mean(0)
    half = abs(float(shape[mesh478.RIGHT_CORNER, 0] - shape[mesh478.LEFT_CORNER, 0])) / 2 + 1e-6
    aside = np.clip((shape[:, 0] - centre[0]) / half, -1.6, 1.6)
    near = np.exp(-(((shape[:, 1] - centre[1]) / 0.28) ** 2)) * np.where(np.abs(aside) > 1, 1.6 - np.abs(aside), 0.6)
    near = np.clip(near / 0.6, 0, 1)
    near[mesh478.MESH_COUNT :] = 0
    out[:, 0] += SMILE_OUT * np.clip(aside, -1, 1) * near
    out[:, 1] -= SMILE_UP * np.clip(aside, -1, 1) ** 2 * near
    return out


def transfer_lower_face(shape: Float, head: Float, pose: HeadPose, weights: Float) -> Float:
    """Return landmarks in pixels, float32 [T, 478, 3], with the lower face of ``shape`` [478, 3].

    ``head``: head-frame landmarks of the frames, [T, 478, 3]. ``weights``: blend weights between ``head`` (0) and
    ``shape`` (1), [478]. NaN frames remain NaN.
    """
    mixed = head + (shape[None] - head) * weights[None, :, None]
    return to_pixels(mixed.astype(np.float32), pose)
