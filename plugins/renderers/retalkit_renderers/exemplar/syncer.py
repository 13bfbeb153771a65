"""The lip syncer ``exemplar``: the stage and its session."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import HeadPose
from retalkit.stages import FrameResult, LipSyncClip, LipSyncerSession, PassedThrough, Runtime, StageContext, SyncBatch

from retalkit_renderers.exemplar.bank import Bank
from retalkit_renderers.exemplar.cast import Member
from retalkit_renderers.exemplar.casting import covered_exemplars, know_clip
from retalkit_renderers.exemplar.config import ExemplarConfig
from retalkit_renderers.exemplar.crossfade import shown_exemplars
from retalkit_renderers.exemplar.driving import asked_motion
from retalkit_renderers.exemplar.plan import PLAN, Plan, load_plan, make_plan, save_plan
from retalkit_renderers.exemplar.rendering import FrameRenderer, frame_shape

Float = NDArray[np.float32]

NO_FACE = PassedThrough("no face")
LITTLE_SEEN = PassedThrough("too little of this face")
OUT_OF_FRAME = PassedThrough("mouth out of frame")
LARGE_YAW = "large yaw"
LOW_CONFIDENCE = "low confidence"
OCCLUDED = "occluded"
_LEAST_CONFIDENCE = 0.02
_SURE = 0.999
_HIDDEN = (0.10, 0.22)
"""Share of the skin around the mouth that is hidden, at which the edit begins to fade and at which it is given up."""
_BELIEVED = (0.035, 0.07)
"""Smaller shares are mostly shadows of lips and nose; protecting them would show the original lips."""
_REPLANS = 3


class ExemplarLipSyncer:
    """Chooses, for each output frame, a source frame of the same person whose mouth is near the asked shape, warps it
    onto the current head and blends. No network makes pixels."""

    def __init__(self, config: ExemplarConfig, runtime: Runtime) -> None:
        self._config = config
        self._driver = runtime.drivers.get("driver")

    def open(self, clip: LipSyncClip, context: StageContext) -> LipSyncerSession:
        """Measures the person, fills the bank and plans all frames, as far as the cache does not have them."""
        known = know_clip(clip.analysis, clip.references, self._config.bank_size, context)
        if known is None:
            return _NobodySession()
        cast, bank = known
        if cast[0].person.silent:
            context.observer.note("the mouth never opens in this video, so its inside is drawn and it moves less")
        plan = load_plan(context)
        if plan is None or len(plan) != clip.timeline.count:
            plan = self._planned(clip, cast, bank, context)
            save_plan(plan, context)
        stored = context.cache.path(PLAN)
        if stored is not None:
            context.observer.artefact("mouth_plan", stored)
        return ExemplarSession(cast, bank, plan, self._config)

    def _planned(self, clip: LipSyncClip, cast: list[Member], bank: Bank, context: StageContext) -> Plan:
        """Plans, looks whether something hides a chosen mouth, and plans again without it."""
        analysis, timeline = clip.analysis, clip.timeline
        motion, times = asked_motion(self._config, self._driver, clip.speech, timeline)
        blocked = np.zeros(len(bank.exemplars), bool)
        checked = np.zeros(len(bank.exemplars), bool)
        for _ in range(_REPLANS):
            plan = make_plan(analysis, timeline, motion, times, cast, bank.exemplars, blocked, self._config, context)
            before = int(blocked.sum())
            for number, member in enumerate(cast):
                used = np.unique(plan.index[(plan.member == number) & (plan.index >= 0)]).astype(np.int64)
                used = used[~checked[used]]
                blocked[used] = covered_exemplars(used, member, bank)
                checked[used] = True
            if int(blocked.sum()) == before:
                return plan
        return make_plan(analysis, timeline, motion, times, cast, bank.exemplars, blocked, self._config, context)


class _NobodySession:
    """A clip without any face."""

    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        return [NO_FACE] * len(batch.positions)

    def close(self) -> None: ...


class ExemplarSession:
    """Renders planned frames; each one by itself, in any batches."""

    def __init__(self, cast: list[Member], bank: Bank, plan: Plan, config: ExemplarConfig) -> None:
        self._cast = cast
        self._bank = bank
        self._plan = plan
        self._renderers = [FrameRenderer(member, bank, config) for member in cast]
        self._sources = bank.exemplars.indexes

    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        """One edit for each position; frames without a face, far turned or hopeless ones pass through."""
        pose = mesh_space.unpack_pose(batch.faces.coefficients)
        return [self._one(batch, row, pose[row : row + 1]) for row in range(len(batch.positions))]

    def _one(self, batch: SyncBatch, row: int, pose: HeadPose) -> FrameResult:
        position, plan = int(batch.positions[row]), self._plan
        landmarks = batch.faces.landmarks[row]
        if not np.isfinite(landmarks).all() or not np.isfinite(batch.faces.coefficients[row]).all():
            return NO_FACE
        number = int(plan.member[position])
        if number < 0 or plan.index[position] < 0:
            return LITTLE_SEEN
        confidence = float(plan.confidence[position])
        reason = "" if confidence > _SURE else LARGE_YAW if plan.turned[position] < _SURE else LOW_CONFIDENCE
        if confidence < _LEAST_CONFIDENCE:
            return PassedThrough(reason)
        member, renderer = self._cast[number], self._renderers[number]
        image = batch.faces.frames.images[row]
        target = member.person.model.shape(plan.coefficients[position][None], plan.gap[position][None])[0]
        shape = frame_shape(landmarks, pose, target, renderer.topology.follow)
        edit = renderer.render(image, shape, shown_exemplars(plan.index, self._sources, position))
        if edit is None:
            return OUT_OF_FRAME
        mask = edit.mask
        if member.guard is not None and member.guard.grid is not None:
            left, top = (int(-value) for value in edit.matrix[:, 2])
            box = (left, top, mask.shape[1], mask.shape[0])
            hidden, share = member.guard.protect(image, landmarks, pose, box, _BELIEVED[0])
            if share > _BELIEVED[0]:
                left_over = 1 - float(np.clip((share - _HIDDEN[0]) / (_HIDDEN[1] - _HIDDEN[0]), 0, 1))
                if left_over * confidence < _LEAST_CONFIDENCE:
                    return PassedThrough(OCCLUDED)
                reason = OCCLUDED if left_over < _SURE else reason
                confidence *= left_over
                believed = min((share - _BELIEVED[0]) / (_BELIEVED[1] - _BELIEVED[0]), 1.0)
                mask = mask * (1 - hidden * np.float32(believed))
        if confidence < _SURE:
            mask = mask * np.float32(confidence)
        return replace(edit, mask=mask, confidence=confidence, reason=reason)

    def close(self) -> None:
        self._bank.close()
