"""Exemplar selection for each output frame by dynamic programming.

The search uses the Viterbi algorithm (1967). Bregler, Covell and Slaney used this algorithm to synthesise video in
"Video Rewrite", SIGGRAPH 1997.

The unary cost of an exemplar in a frame is the sum of several terms: the lip distance from the target, the difference
in head rotation, the blur, the enlargement, and, if the target mouth is closed, the pixel gap between the lips and the
amount by which the lips are pressed together. The transition cost is zero for the next source frame and small for a
repeated frame. For a jump, the transition cost grows with the difference between the mouth images.

The search runs in windows at fixed positions. Each window includes look-ahead frames beyond its end, and the result
depends only on the input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space

from retalkit_renderers.exemplar.bank import Exemplars
from retalkit_renderers.lip_thickness import MIDDLE, PRESSED, lip_thickness

Float = NDArray[np.float32]

WINDOW = 256
LOOK_AHEAD = 48
_POINTS = list(mesh478.INNER_LIPS + mesh478.OUTER_LIPS)
_UPPER = [pair[0] for pair in mesh478.INNER_LIP_PAIRS]
_LOWER = [pair[1] for pair in mesh478.INNER_LIP_PAIRS]

_OPENING_WEIGHT = 2.0
_WIDTH_WEIGHT = 5.0
_POSE_COST = 0.12
_MAX_ANGLE = 0.6
_BLUR_COST = 0.03
_SIZE_COST = 0.05
_LARGEST_ZOOM = 1.6
"""Enlargement of an exemplar above which the loss of detail is visible."""
_ZOOM_COST = 0.6
_CLOSED_GAP = 0.014
"""Lip gap in IOD below which the target requires an exemplar whose pixels show closed lips."""
_OPEN_WHERE_CLOSED_COST = 12.0
_PIXEL_GAP_COST = 8.0
_PRESSED_COST = 6.0
"""Cost of lips that are pressed together, per IOD. The warp would only stretch them, because they are hidden."""
_STRETCH_COST = 1.5
_MAX_STRETCH = 1.3
_CLOSED_WHERE_OPEN_COST = 1.0
_BLOCKED_COST = 50.0
_JUMP_COST = 0.02
_JUMP_DIFFERENCE_COST = 0.15
_HOLD_COST = 0.005
_BACKWARD_COST = 0.03


class ViterbiSearch:
    """Selection costs for a bank of K exemplars."""

    def __init__(self, exemplars: Exemplars, blocked: NDArray[np.bool_]) -> None:
        """Initialise the search.

        ``blocked``: mask of exemplars that must not be selected because the mouth is occluded, bool [K].
        """
        heads = exemplars.heads
        self._features = lip_features(heads)
        self._gap = _mean_gap(heads)
        self._thickness = lip_thickness(heads[:, list(MIDDLE)])
        pose = exemplars.pose
        self._rotation = pose.rotation
        self._scale = pose.scale
        sharp = exemplars.sharpness / max(float(np.median(exemplars.sharpness)), 1e-6)
        self._own_cost = _BLUR_COST * np.maximum(0, 1 - sharp) + _BLOCKED_COST * blocked
        # Pixel gap of this person's closed mouth. The gap is nonzero if a dark line is visible between closed lips.
        floor = float(np.percentile(exemplars.gaps, 4)) if len(exemplars) else 0.0
        self._pixel_gap = np.maximum(0, exemplars.gaps - floor - 0.004)
        self._transitions = _transition_costs(exemplars)

    def unary_costs(self, targets: Float, rotation: Float, scale: Float) -> tuple[Float, Float]:
        """Return unary costs, float32 [T, K], and lip distances, float32 [T, K].

        ``targets``: target shapes [T, 478, 3]. ``rotation`` and ``scale``: rotation [T, 3, 3] and scale [T] of the
        target heads.
        """
        features = lip_features(targets)
        square = (features**2).sum(1)[:, None] + (self._features**2).sum(1)[None] - 2 * features @ self._features.T
        distance = np.sqrt(np.maximum(square, 0) / len(_POINTS))
        trace = np.einsum("tij,kij->tk", rotation, self._rotation)
        angle = np.minimum(np.arccos(np.clip((trace - 1) / 2, -1, 1)), _MAX_ANGLE)
        smaller = np.maximum(0, np.log(scale[:, None] / self._scale[None]))
        gap = _mean_gap(targets)[:, None]
        closed = gap < _CLOSED_GAP
        # Closed lips look similar from all directions, so the pose difference has a lower weight for a closed target.
        cost = distance + _POSE_COST * angle * np.where(closed, 0.3, 1) + self._own_cost[None]
        cost += _SIZE_COST * smaller + _ZOOM_COST * np.maximum(0, smaller - np.log(_LARGEST_ZOOM))
        thin = np.maximum(0, PRESSED * lip_thickness(targets[:, list(MIDDLE)])[:, None] - self._thickness[None])
        cost += closed * (
            _OPEN_WHERE_CLOSED_COST * np.maximum(0, self._gap[None] - gap - 0.004)
            + _PIXEL_GAP_COST * self._pixel_gap
            + _PRESSED_COST * thin
        )
        cost += _CLOSED_WHERE_OPEN_COST * np.maximum(0, gap - self._gap[None] - 0.02) * (self._gap[None] < 0.03)
        cost += _STRETCH_COST * np.maximum(0, gap - _MAX_STRETCH * self._gap[None] - 0.01)
        return cost.astype(np.float32), distance.astype(np.float32)

    def best_path(self, cost: Float, previous: int | None) -> NDArray[np.int64]:
        """Return the path with the lowest cost, int64 [T], for unary costs [T, K].

        ``previous``: exemplar of the preceding frame.
        """
        steps, states = cost.shape
        total = cost[0].copy() if previous is None else cost[0] + self._transitions[previous]
        back = np.zeros((steps, states), np.int32)
        rows = np.arange(states)
        for step in range(1, steps):
            reached = total[:, None] + self._transitions
            back[step] = reached.argmin(0)
            total = reached[back[step], rows] + cost[step]
        path = np.zeros(steps, np.int64)
        path[-1] = int(total.argmin())
        for step in range(steps - 1, 0, -1):
            path[step - 1] = back[step, path[step]]
        return path


def lip_features(heads: Float) -> Float:
    """Return lip features, float32 [T, F], for head-frame shapes [T, 478, 3]: lip points, weighted gaps and width.

    The sum of squared feature differences is a squared distance in IOD.
    """
    points = heads[:, _POINTS, :2].reshape(len(heads), -1)
    gaps = (heads[:, _LOWER, 1] - heads[:, _UPPER, 1]) * _OPENING_WEIGHT
    return np.hstack([points, gaps, mesh_space.width(heads)[:, None] * _WIDTH_WEIGHT]).astype(np.float32)


def _mean_gap(heads: Float) -> Float:
    return (heads[:, _LOWER, 1] - heads[:, _UPPER, 1]).mean(1)


def _transition_costs(exemplars: Exemplars) -> Float:
    """Return the transition costs, float32 [K, K], from each row's exemplar to each column's exemplar."""
    count = len(exemplars)
    look = exemplars.patches.reshape(count, -1)
    look = look - look.mean(1, keepdims=True)
    square = (look**2).sum(1)
    distance = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * look @ look.T, 0) / look.shape[1]) / 255
    following = np.minimum(np.arange(count) + 1, count - 1)
    # A jump replaces the next source frame, so the cost compares the next source frame with the selected exemplar.
    costs = _JUMP_COST + _JUMP_DIFFERENCE_COST * distance[following]
    consecutive = np.flatnonzero(np.diff(exemplars.indexes) == 1)
    costs[consecutive, consecutive + 1] = 0
    costs[np.arange(count), np.arange(count)] = _HOLD_COST
    costs[consecutive + 1, consecutive] = _BACKWARD_COST
    return costs.astype(np.float32)
