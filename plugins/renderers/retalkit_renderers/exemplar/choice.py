"""Which exemplar is shown when: dynamic programming over windows of the output (Viterbi, 1967; used for video
rewriting by Bregler, Covell and Slaney, "Video Rewrite", SIGGRAPH 1997).

The cost of an exemplar at a frame: how far its lips are from the target, how differently the head is turned, how
blurred it is, and how open its *pixels* are where the target is closed. The cost between frames: playing on is free,
holding costs little, jumping costs more the less the mouth pictures resemble each other.

Windows are fixed by position and each looks ahead over its end, so the result depends on nothing but the input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space

from retalkit_renderers.exemplar.bank import Exemplars

Float = NDArray[np.float32]

WINDOW = 256
LOOK_AHEAD = 48
_POINTS = list(mesh478.INNER_LIPS + mesh478.OUTER_LIPS)
_UPPER = [pair[0] for pair in mesh478.INNER_LIP_PAIRS]
_LOWER = [pair[1] for pair in mesh478.INNER_LIP_PAIRS]

_OPENING_WEIGHT = 2.0
_WIDTH_WEIGHT = 5.0
_POSE = 0.12
_MOST_ANGLE = 0.6
_BLUR = 0.03
_SIZE = 0.05
_CLOSED = 0.014
"""A target whose lips are nearer than this (IOD) asks for closed pixels."""
_OPEN_WHERE_CLOSED = 12.0
_PIXEL_GAP = 8.0
_STRETCH = 1.5
_MOST_STRETCH = 1.3
_CLOSED_WHERE_OPEN = 1.0
_BLOCKED = 50.0
_JUMP = 0.02
_JUMP_LOOK = 0.15
_HOLD = 0.005
_BACK = 0.03


@dataclass(frozen=True, slots=True)
class Choice:
    """Exemplars of a run of output frames."""

    numbers: NDArray[np.int64]
    """int64 [T], rows of the bank."""
    distance: Float
    """float32 [T], RMS distance of the lip shapes in IOD."""


class Chooser:
    """Costs of one bank, ready for any target."""

    def __init__(self, exemplars: Exemplars, blocked: NDArray[np.bool_]) -> None:
        """``blocked`` bool [K]: exemplars that must not be shown, because something is in front of them."""
        heads = exemplars.heads
        self._features = lip_features(heads)
        self._gap = _mean_gap(heads)
        pose = exemplars.pose
        self._rotation = pose.rotation
        self._scale = pose.scale
        sharp = exemplars.sharpness / max(float(np.median(exemplars.sharpness)), 1e-6)
        self._own = _BLUR * np.maximum(0, 1 - sharp) + _BLOCKED * blocked
        # How open the pixels of a closed mouth look on this person (a dark line between the lips counts as gap).
        floor = float(np.percentile(exemplars.gaps, 4)) if len(exemplars) else 0.0
        self._pixels = np.maximum(0, exemplars.gaps - floor - 0.004)
        self._between = _transitions(exemplars)

    def unary(self, targets: Float, rotation: Float, scale: Float) -> tuple[Float, Float]:
        """Costs float32 [T, K] and lip distances [T, K] of target shapes [T, 478, 3] on heads with ``rotation``
        [T, 3, 3] and ``scale`` [T]."""
        features = lip_features(targets)
        square = (features**2).sum(1)[:, None] + (self._features**2).sum(1)[None] - 2 * features @ self._features.T
        distance = np.sqrt(np.maximum(square, 0) / len(_POINTS))
        trace = np.einsum("tij,kij->tk", rotation, self._rotation)
        angle = np.minimum(np.arccos(np.clip((trace - 1) / 2, -1, 1)), _MOST_ANGLE)
        smaller = np.maximum(0, np.log(scale[:, None] / self._scale[None]))
        gap = _mean_gap(targets)[:, None]
        closed = gap < _CLOSED
        # Lips that meet look alike from everywhere: pose matters less than that they do meet.
        cost = distance + _POSE * angle * np.where(closed, 0.3, 1) + _SIZE * smaller + self._own[None]
        cost += closed * (_OPEN_WHERE_CLOSED * np.maximum(0, self._gap[None] - gap - 0.004) + _PIXEL_GAP * self._pixels)
        cost += _CLOSED_WHERE_OPEN * np.maximum(0, gap - self._gap[None] - 0.02) * (self._gap[None] < 0.03)
        cost += _STRETCH * np.maximum(0, gap - _MOST_STRETCH * self._gap[None] - 0.01)
        return cost.astype(np.float32), distance.astype(np.float32)

    def best(self, cost: Float, before: int | None) -> NDArray[np.int64]:
        """The cheapest path int64 [T] through unary costs [T, K]; ``before``: the exemplar of the frame before."""
        steps, states = cost.shape
        total = cost[0].copy() if before is None else cost[0] + self._between[before]
        back = np.zeros((steps, states), np.int32)
        rows = np.arange(states)
        for step in range(1, steps):
            reached = total[:, None] + self._between
            back[step] = reached.argmin(0)
            total = reached[back[step], rows] + cost[step]
        path = np.zeros(steps, np.int64)
        path[-1] = int(total.argmin())
        for step in range(steps - 1, 0, -1):
            path[step - 1] = back[step, path[step]]
        return path


def lip_features(heads: Float) -> Float:
    """float32 [T, F]: lip points, weighted gaps and width of head-frame shapes [T, 478, 3]; squares add up to squared
    distances in IOD."""
    points = heads[:, _POINTS, :2].reshape(len(heads), -1)
    gaps = (heads[:, _LOWER, 1] - heads[:, _UPPER, 1]) * _OPENING_WEIGHT
    return np.hstack([points, gaps, mesh_space.width(heads)[:, None] * _WIDTH_WEIGHT]).astype(np.float32)


def _mean_gap(heads: Float) -> Float:
    return (heads[:, _LOWER, 1] - heads[:, _UPPER, 1]).mean(1)


def _transitions(exemplars: Exemplars) -> Float:
    """float32 [K, K]: cost of showing column after row."""
    count = len(exemplars)
    look = exemplars.patches.reshape(count, -1)
    look = look - look.mean(1, keepdims=True)
    square = (look**2).sum(1)
    apart = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * look @ look.T, 0) / look.shape[1]) / 255
    follows = np.minimum(np.arange(count) + 1, count - 1)
    # Leaving row, arriving at column: what would have come next against what comes instead.
    between = _JUMP + _JUMP_LOOK * apart[follows]
    on = np.flatnonzero(np.diff(exemplars.indexes) == 1)
    between[on, on + 1] = 0
    between[np.arange(count), np.arange(count)] = _HOLD
    between[on + 1, on] = _BACK
    return between.astype(np.float32)
