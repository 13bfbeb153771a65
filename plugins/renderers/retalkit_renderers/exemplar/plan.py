"""The plan: what every output frame will show. Small numbers only; pixels are made from it, frame by frame.

Made once when the session opens and stored, so that every frame can be rendered by itself and a resumed run
goes on with the same plan.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from time import monotonic

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import HeadPose, yaw_pitch_roll
from retalkit.stages import Analysis, MouthMotion, StageContext, Timeline
from scipy.ndimage import gaussian_filter1d

from retalkit_renderers.exemplar.bank import Exemplars, gather, save_arrays
from retalkit_renderers.exemplar.cast import Member, member_of
from retalkit_renderers.exemplar.choice import LOOK_AHEAD, WINDOW, Chooser
from retalkit_renderers.exemplar.config import ExemplarConfig
from retalkit_renderers.exemplar.mouth_model import ASKED, COUNT, extra_coefficients

Float = NDArray[np.float32]

PLAN = "plan.npz"
_EXTRA_SMOOTHING = 1.2
"""Frames; how smoothly the exemplars' own lip shapes go into the target."""
_WIDTH_SHARE = 0.5
_WIDTH_REACH = 1.2
"""Measured: the width re-tracked in the picture changes by this factor less than that of the target landmarks."""
_FAR = (0.16, 0.3)
"""Lip distance in IOD at which confidence begins to fall and at which it is gone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One row for each output frame."""

    times: NDArray[np.float64]
    """float64 [T], seconds."""
    member: NDArray[np.int32]
    """int32 [T], member of the cast; -1: no face, or a face of which too little was seen."""
    index: NDArray[np.int32]
    """int32 [T], row of the bank; -1: no face or nothing to show."""
    coefficients: Float
    """float32 [T, COUNT] of the mouth model."""
    gap: Float
    """float32 [T] in [0, 1]: 0 makes the lips touch."""
    opening: Float
    """float32 [T], opening of the target shape in IOD; NaN without a face."""
    width: Float
    """float32 [T], width in IOD that the picture is to show; the landmarks go further (``_WIDTH_REACH``); NaN without a
    face."""
    face_height: Float
    """float32 [T], of the source face in IOD; NaN without a face. ``opening / face_height`` is in face heights."""
    confidence: Float
    """float32 [T] in [0, 1]; the edit is faded by it."""
    turned: Float
    """float32 [T] in [0, 1]: how much of the confidence the yaw of the head leaves."""

    def __len__(self) -> int:
        return len(self.times)


def load_plan(context: StageContext) -> Plan | None:
    """The finished plan in the cache, if there is one."""
    path = context.cache.path(PLAN)
    if path is None:
        return None
    with np.load(path, allow_pickle=False) as stored:
        return Plan(**{each.name: stored[each.name] for each in fields(Plan)})


def save_plan(plan: Plan, context: StageContext) -> Path:
    """Stores the plan and returns its path."""
    with context.cache.write(PLAN) as path:
        save_arrays(path, {each.name: getattr(plan, each.name) for each in fields(Plan)})
    stored = context.cache.path(PLAN)
    assert stored is not None
    return stored


@dataclass(frozen=True, slots=True)
class _Heads:
    """Poses of the source frames behind output positions, float32."""

    pose: HeadPose
    yaw: Float
    face_height: Float
    shots: NDArray[np.int32]
    seen: NDArray[np.bool_]


def _heads(analysis: Analysis, sources: NDArray[np.int64]) -> _Heads:
    # A loop or a ping-pong may fold back inside the window.
    distinct, row = np.unique(sources, return_inverse=True)
    row = row.reshape(-1)
    coefficients = gather(analysis.coefficients, distinct)[row]
    pose = mesh_space.unpack_pose(coefficients)
    seen = np.isfinite(coefficients[:, 0])
    yaw = np.full(len(sources), np.nan, np.float32)
    if seen.any():
        yaw[seen] = np.abs(yaw_pitch_roll(pose[np.flatnonzero(seen)])[:, 0])
    shots = gather(analysis.tracks, distinct)[row]
    return _Heads(pose, yaw, coefficients[:, mesh_space.FACE_HEIGHT], shots, seen)


def make_plan(
    analysis: Analysis,
    timeline: Timeline,
    motion: MouthMotion,
    times: NDArray[np.float64],
    cast: list[Member],
    exemplars: Exemplars,
    blocked: NDArray[np.bool_],
    config: ExemplarConfig,
    context: StageContext,
) -> Plan:
    """Plans the whole output. ``motion`` has one row for each output frame; ``blocked`` bool [K] rows of the bank
    that must not be shown."""
    plan = _empty_plan(times)
    step, began = "mouth plan", monotonic()
    context.observer.started(step, timeline.count)
    deciders = [_Decider(member, exemplars, blocked, motion, config) for member in cast]
    for start in range(0, timeline.count, WINDOW):
        stop = min(start + WINDOW, timeline.count)
        sources = timeline.sources(start, min(stop + LOOK_AHEAD, timeline.count))
        heads = _heads(analysis, sources)
        shown = np.where(heads.seen, member_of(cast, heads.shots), -1)
        kept = slice(start, stop)
        plan.member[kept] = shown[: stop - start]
        plan.face_height[kept] = np.where(heads.seen, heads.face_height, np.nan)[: stop - start]
        plan.turned[kept] = (1 - _ramp(np.nan_to_num(heads.yaw, nan=90.0), *config.yaw_fade))[: stop - start]
        for number, decider in enumerate(deciders):
            decider.decide(plan, start, stop, np.flatnonzero(shown == number), heads)
        context.observer.advanced(step, stop)
    for decider in deciders:
        decider.finish(plan)
    context.observer.finished(step, monotonic() - began, False)
    return plan


def _empty_plan(times: NDArray[np.float64]) -> Plan:
    count = len(times)
    zeros, unknown = np.zeros(count, np.float32), np.full(count, np.nan, np.float32)
    return Plan(
        times=np.asarray(times, np.float64),
        member=np.full(count, -1, np.int32),
        index=np.full(count, -1, np.int32),
        coefficients=np.zeros((count, COUNT), np.float32),
        gap=zeros.copy(),
        opening=unknown.copy(),
        width=unknown.copy(),
        face_height=unknown.copy(),
        confidence=zeros.copy(),
        turned=zeros.copy(),
    )


class _Decider:
    """Plans the frames of one member of the cast."""

    def __init__(
        self,
        member: Member,
        exemplars: Exemplars,
        blocked: NDArray[np.bool_],
        motion: MouthMotion,
        config: ExemplarConfig,
    ) -> None:
        self._member = member
        own = exemplars.rows(member.rows)
        self._chooser = Chooser(own, blocked[member.rows])
        self._own = extra_coefficients(member.person.model, own.heads)
        self._coefficients, self._gap = member.person.targets(motion, config.strength)
        self._before: int | None = None
        self._positions: list[NDArray[np.int64]] = []

    def decide(self, plan: Plan, start: int, stop: int, rows: NDArray[np.int64], heads: _Heads) -> None:
        """Chooses exemplars for the window's ``rows`` and writes those before ``stop`` into the plan."""
        if not len(rows):
            self._before = None
            return
        person, positions = self._member.person, start + rows
        shapes = person.model.shape(self._coefficients[positions], self._gap[positions])
        cost, apart = self._chooser.unary(shapes, heads.pose.rotation[rows], heads.pose.scale[rows])
        path = self._chooser.best(cost, self._before)
        kept = np.flatnonzero(positions < stop)
        if not len(kept):
            return
        self._before = int(path[kept[-1]])
        here = positions[kept]
        plan.index[here] = self._member.rows[path[kept]]
        near = 1.0 if person.silent else 1 - _ramp(apart[kept, path[kept]], *_FAR)
        plan.confidence[here] = plan.turned[here] * near
        self._positions.append(here)

    def finish(self, plan: Plan) -> None:
        """Fills in the target shapes, which depend on the exemplars around each frame."""
        if not self._positions:
            return
        person, here = self._member.person, np.concatenate(self._positions)
        coefficients = self._coefficients[here]
        if not person.silent:
            chosen = np.searchsorted(self._member.rows, plan.index[here])
            coefficients = _towards_exemplars(coefficients, self._own[chosen])
        plan.coefficients[here] = coefficients
        plan.gap[here] = self._gap[here]
        for first in range(0, len(here), WINDOW):
            part = here[first : first + WINDOW]
            shapes = person.model.shape(plan.coefficients[part], plan.gap[part])
            plan.opening[part] = mesh_space.opening(shapes)
            plan.width[part] = mesh_space.width(shapes)
        # The skin beside the corners gives way less than the corners: what is asked is reached by asking for more.
        plan.coefficients[here, 1] *= _WIDTH_REACH


def _towards_exemplars(coefficients: Float, shown: Float) -> Float:
    """Target coefficients [T, COUNT] with the extra ones of the exemplars shown [T, COUNT], smooth in time, and a
    share of their width.

    Their own ways of moving go into the target, so that their pictures are bent as little as can be; and some widths
    that are asked do not occur with some openings on this person.
    """
    smooth = gaussian_filter1d(shown, _EXTRA_SMOOTHING, axis=0, mode="nearest")
    out = coefficients.copy()
    out[:, 1] += _WIDTH_SHARE * (smooth[:, 1] - out[:, 1])
    out[:, ASKED:] = smooth[:, ASKED:]
    return out


def _ramp(value: Float, low: float, high: float) -> Float:
    unit = np.clip((value - low) / (high - low), 0, 1)
    return unit * unit * (3 - 2 * unit)
