"""Mouth plan, which contains the target shape and the exemplar for each output frame.

The plan is computed once when the session opens, and is then stored. Each frame can therefore be rendered
independently, and a resumed run uses an identical plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from time import monotonic

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.errors import RunCancelledError
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import HeadPose, yaw_pitch_roll
from retalkit.stages import Analysis, MouthMotion, StageContext, Strength, Timeline

from retalkit_renderers.exemplar.bank import Exemplars, gather, save_arrays
from retalkit_renderers.exemplar.config import ExemplarConfig
from retalkit_renderers.exemplar.identities import Identity, identity_numbers
from retalkit_renderers.exemplar.mouth_model import COEFFICIENT_COUNT, CONTROL_COUNT, fit_coefficients
from retalkit_renderers.exemplar.viterbi_search import LOOK_AHEAD, WINDOW, ViterbiSearch

Float = NDArray[np.float32]

PLAN = "plan.npz"
_EXTRA_SMOOTHING = 1.2
"""Standard deviation, in frames, of the temporal smoothing that is applied to the exemplars' lip shapes in the target.
"""
_WIDTH_SHARE = 0.5
"""Weight of the exemplars' width in the target width."""
_WIDTH_GAIN = 1.2
"""Gain that is applied to the target width.

In measurements, changes of the tracked width in the output were smaller than changes of the target landmarks' width by
this factor.
"""
_DISTANCE_FADE = (0.16, 0.3)
"""Lip distances in IOD at which the confidence starts to decrease and at which it reaches 0."""


@dataclass(frozen=True, slots=True)
class MouthPlan:
    """Plan with one entry per output frame."""

    times: NDArray[np.float64]
    """Output frame times in seconds, float64 [T]."""
    identity: NDArray[np.int32]
    """Identity index, int32 [T]. The value is -1 for frames without a face and frames of an identity with too few
    frames.
    """
    exemplar: NDArray[np.int32]
    """Bank row of the exemplar, int32 [T]. The value is -1 for frames without a face or without an exemplar."""
    coefficients: Float
    """Mouth model coefficients, float32 [T, COEFFICIENT_COUNT]."""
    gap: Float
    """Scale factor in [0, 1] for the gap between the lips, float32 [T]. A value of 0 closes the lips."""
    opening: Float
    """Opening of the target shape in IOD, float32 [T]. The value is NaN for frames without a face."""
    width: Float
    """Target width in the output image in IOD, float32 [T]. The value is NaN for frames without a face.

    The width in ``coefficients`` is larger by a factor of ``_WIDTH_GAIN``.
    """
    face_height: Float
    """Height of the source face in IOD, float32 [T]. The value is NaN for frames without a face.

    ``opening / face_height`` is the opening in face heights.
    """
    confidence: Float
    """Opacity of the edit in [0, 1], float32 [T]."""
    yaw_weight: Float
    """Confidence factor in [0, 1], which depends on the head yaw, float32 [T]."""

    def __len__(self) -> int:
        return len(self.times)


def load_plan(context: StageContext) -> MouthPlan | None:
    """Return the cached plan, or None if the cache contains no plan."""
    path = context.cache.path(PLAN)
    if path is None:
        return None
    with np.load(path, allow_pickle=False) as stored:
        return MouthPlan(**{each.name: stored[each.name] for each in fields(MouthPlan)})


def save_plan(plan: MouthPlan, context: StageContext) -> Path:
    """Write the plan to the cache and return the path."""
    with context.cache.write(PLAN) as path:
        save_arrays(path, {each.name: getattr(plan, each.name) for each in fields(MouthPlan)})
    stored = context.cache.path(PLAN)
    assert stored is not None
    return stored


@dataclass(frozen=True, slots=True)
class _SourceFaces:
    """Faces in the source frames at selected output positions."""

    pose: HeadPose
    yaw: Float
    """Absolute yaw in degrees, float32 [T]."""
    face_height: Float
    tracks: NDArray[np.int32]
    valid: NDArray[np.bool_]
    """Mask of source frames that contain a face, bool [T]."""


def _source_faces(analysis: Analysis, sources: NDArray[np.int64]) -> _SourceFaces:
    # In loop or ping-pong mode, a source frame may occur twice in the window.
    distinct, row = np.unique(sources, return_inverse=True)
    row = row.reshape(-1)
    coefficients = gather(analysis.coefficients, distinct)[row]
    pose = mesh_space.unpack_pose(coefficients)
    valid = np.isfinite(coefficients[:, 0])
    yaw = np.full(len(sources), np.nan, np.float32)
    if valid.any():
        yaw[valid] = np.abs(yaw_pitch_roll(pose[np.flatnonzero(valid)])[:, 0])
    tracks = gather(analysis.tracks, distinct)[row]
    return _SourceFaces(pose, yaw, coefficients[:, mesh_space.FACE_HEIGHT], tracks, valid)


def make_plan(
    analysis: Analysis,
    timeline: Timeline,
    motion: MouthMotion,
    times: NDArray[np.float64],
    identities: list[Identity],
    exemplars: Exemplars,
    blocked: NDArray[np.bool_],
    config: ExemplarConfig,
    context: StageContext,
    strength: Strength | None = None,
) -> MouthPlan:
    """Return the plan for the complete output.

    ``motion``: requested motion with one value per output frame. ``blocked``: mask of bank rows that must not be
    selected, bool [K]. ``strength``: strength of the edit over time. Frames with a strength of 0 are not planned, and
    the target shapes of frames with a strength below 1 are between the shapes in the source frames and the requested
    shapes.
    """
    plan = _empty_plan(times)
    step, began = "mouth plan", monotonic()
    context.observer.started(step, timeline.count)
    planners = [_IdentityPlanner(identity, exemplars, blocked, motion, config) for identity in identities]
    for start in range(0, timeline.count, WINDOW):
        if context.cancelled:
            raise RunCancelledError("the run was cancelled; repeat the call to resume the run")
        stop = min(start + WINDOW, timeline.count)
        sources = timeline.sources(start, min(stop + LOOK_AHEAD, timeline.count))
        faces = _source_faces(analysis, sources)
        numbers = np.where(faces.valid, identity_numbers(identities, faces.tracks), -1)
        eased = None if strength is None else strength(timeline.times(start, start + len(sources)))
        if eased is not None:
            numbers = np.where(eased > 0, numbers, -1)
        kept = slice(start, stop)
        plan.identity[kept] = numbers[: stop - start]
        plan.face_height[kept] = np.where(faces.valid, faces.face_height, np.nan)[: stop - start]
        plan.yaw_weight[kept] = (1 - _ramp(np.nan_to_num(faces.yaw, nan=90.0), *config.yaw_fade))[: stop - start]
        for number, planner in enumerate(planners):
            if eased is not None:
                planner.ease(analysis, sources, start, np.flatnonzero((numbers == number) & (eased < 1)), eased)
            planner.plan_window(plan, start, stop, np.flatnonzero(numbers == number), faces)
        context.observer.advanced(step, stop)
    for planner in planners:
        planner.fill_shapes(plan)
    context.observer.finished(step, monotonic() - began, False)
    return plan


def _empty_plan(times: NDArray[np.float64]) -> MouthPlan:
    count = len(times)
    zeros, unknown = np.zeros(count, np.float32), np.full(count, np.nan, np.float32)
    return MouthPlan(
        times=np.asarray(times, np.float64),
        identity=np.full(count, -1, np.int32),
        exemplar=np.full(count, -1, np.int32),
        coefficients=np.zeros((count, COEFFICIENT_COUNT), np.float32),
        gap=zeros.copy(),
        opening=unknown.copy(),
        width=unknown.copy(),
        face_height=unknown.copy(),
        confidence=zeros.copy(),
        yaw_weight=zeros.copy(),
    )


class _IdentityPlanner:
    """Planner for the frames of one identity."""

    def __init__(
        self,
        identity: Identity,
        exemplars: Exemplars,
        blocked: NDArray[np.bool_],
        motion: MouthMotion,
        config: ExemplarConfig,
    ) -> None:
        self._identity = identity
        own = exemplars.rows(identity.rows)
        self._search = ViterbiSearch(own, blocked[identity.rows])
        self._exemplar_coefficients = fit_coefficients(identity.person.model, own.heads)
        self._coefficients, self._gap = identity.person.retarget(motion, config.strength)
        self._previous: int | None = None
        self._eased: set[int] = set()
        self._positions: list[NDArray[np.int64]] = []

    def ease(
        self,
        analysis: Analysis,
        sources: NDArray[np.int64],
        start: int,
        rows: NDArray[np.int64],
        strength: Float,
    ) -> None:
        """Move the target shapes of ``rows`` towards the shapes in the source frames.

        ``sources``: source frames of the window, int64 [W]. ``strength``: weight of the target shapes, float32 [W].
        """
        if not len(rows):
            return
        distinct, inverse = np.unique(sources[rows], return_inverse=True)
        landmarks, coefficients = gather(analysis.landmarks, distinct), gather(analysis.coefficients, distinct)
        heads = mesh_space.head_landmarks(landmarks, coefficients)
        own = fit_coefficients(self._identity.person.model, heads)[inverse.reshape(-1)]
        # A window overlaps the previous one, whose rows have been eased.
        fresh = np.array([start + row not in self._eased for row in rows.tolist()])
        positions, share = start + rows[fresh], strength[rows[fresh], None]
        self._coefficients[positions] = own[fresh] + share * (self._coefficients[positions] - own[fresh])
        # The gap scales the eased opening, so that lips that close would close too early with the same weight.
        self._gap[positions] = 1 + _ramp(share[:, 0], 0.5, 1.0) * (self._gap[positions] - 1)
        self._eased.update(positions.tolist())

    def plan_window(self, plan: MouthPlan, start: int, stop: int, rows: NDArray[np.int64], faces: _SourceFaces) -> None:
        """Select exemplars for the window's ``rows``, and write the plan entries before ``stop``."""
        if not len(rows):
            self._previous = None
            return
        person, positions = self._identity.person, start + rows
        shapes = person.model.shape(self._coefficients[positions], self._gap[positions])
        cost, distance = self._search.unary_costs(shapes, faces.pose.rotation[rows], faces.pose.scale[rows])
        path = self._search.best_path(cost, self._previous)
        kept = np.flatnonzero(positions < stop)
        if not len(kept):
            return
        self._previous = int(path[kept[-1]])
        planned = positions[kept]
        plan.exemplar[planned] = self._identity.rows[path[kept]]
        near = 1.0 if person.never_opens else 1 - _ramp(distance[kept, path[kept]], *_DISTANCE_FADE)
        plan.confidence[planned] = plan.yaw_weight[planned] * near
        self._positions.append(planned)

    def fill_shapes(self, plan: MouthPlan) -> None:
        """Compute the target shapes and write them to the plan.

        The target shapes depend on the exemplars of neighbouring frames.
        """
        if not self._positions:
            return
        person, planned = self._identity.person, np.concatenate(self._positions)
        coefficients = self._coefficients[planned]
        if not person.never_opens:
            chosen = np.searchsorted(self._identity.rows, plan.exemplar[planned])
            coefficients = _blend_with_exemplars(coefficients, self._exemplar_coefficients[chosen])
        plan.coefficients[planned] = coefficients
        plan.gap[planned] = self._gap[planned]
        for first in range(0, len(planned), WINDOW):
            part = planned[first : first + WINDOW]
            shapes = person.model.shape(plan.coefficients[part], plan.gap[part])
            plan.opening[part] = mesh_space.opening(shapes)
            plan.width[part] = mesh_space.width(shapes)
        # The skin at the mouth corners moves less than the corner landmarks. The gain compensates for the difference.
        plan.coefficients[planned, 1] *= _WIDTH_GAIN


def _blend_with_exemplars(coefficients: Float, shown: Float) -> Float:
    """Return target coefficients [T, COEFFICIENT_COUNT], blended with the coefficients of the exemplars ``shown``.

    The extra coefficients are the temporally smoothed values of the exemplars, and the width is a weighted mean.
    Including the exemplars' lip shapes in the target minimises the warp. It also avoids combinations of width and
    opening that do not occur for this person.
    """
    size = (1, 2 * math.ceil(4 * _EXTRA_SMOOTHING) + 1)
    smooth = cv2.GaussianBlur(
        shown.astype(np.float64), size, sigmaX=0, sigmaY=_EXTRA_SMOOTHING, borderType=cv2.BORDER_REPLICATE
    ).astype(np.float32)
    out = coefficients.copy()
    out[:, 1] += _WIDTH_SHARE * (smooth[:, 1] - out[:, 1])
    out[:, CONTROL_COUNT:] = smooth[:, CONTROL_COUNT:]
    return out


def _ramp(value: Float, low: float, high: float) -> Float:
    unit = np.clip((value - low) / (high - low), 0, 1)
    return unit * unit * (3 - 2 * unit)
