"""Stage and session of the lip syncer ``exemplar``."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import HeadPose
from retalkit.stages import (
    DriverWithNotes,
    FrameForecast,
    FrameResult,
    LipSyncClip,
    LipSyncerSession,
    MouthMotion,
    PassedThrough,
    Runtime,
    Speech,
    StageContext,
    SyncBatch,
)

from retalkit_renderers.exemplar.clip_model import (
    ClipModel,
    dark_exemplars,
    load_or_build_clip_model,
    occluded_exemplars,
)
from retalkit_renderers.exemplar.config import ExemplarConfig
from retalkit_renderers.exemplar.crossfade import exemplar_mix
from retalkit_renderers.exemplar.frame_renderer import (
    FrameGeometry,
    FrameLayout,
    FramePart,
    FrameRenderer,
    frame_geometry,
)
from retalkit_renderers.exemplar.motion_source import motion_ahead
from retalkit_renderers.exemplar.mouth_plan import PLAN, MouthPlan, load_plan, make_plan, save_plan
from retalkit_renderers.exemplar.occlusion import OcclusionDetector

Float = NDArray[np.float32]

NO_FACE = PassedThrough("no face")
TOO_FEW_FRAMES = PassedThrough("too few frames of this face")
OUT_OF_FRAME = PassedThrough("mouth out of frame")
LARGE_YAW = "large yaw"
LOW_CONFIDENCE = "low confidence"
OCCLUDED = "occluded"
_MIN_CONFIDENCE = 0.02
_FULL_CONFIDENCE = 0.999
_OCCLUSION_FADE = (0.10, 0.22)
"""Occluded fractions of the skin around the mouth at which the edit starts to fade and at which it is disabled."""
_OCCLUSION_TRUST = (0.035, 0.07)
"""Occluded fractions at which the occlusion mask starts to apply and at which it applies fully.

Smaller fractions are mostly shadows of the lips and nose. Masking these shadows would expose the original lips.
"""
_MAX_REPLANS = 3
_NOTES = "driver_notes.json"


class ExemplarLipSyncer:
    """Lip syncer that reuses mouth images from other source frames of the same person.

    For each output frame, the syncer selects a source frame whose mouth is similar to the target shape, warps the mouth
    onto the current head and blends it into the frame. It does not use a generative network.
    """

    def __init__(self, config: ExemplarConfig, runtime: Runtime) -> None:
        self._config = config
        self._driver = runtime.drivers.get("driver")

    def open(self, clip: LipSyncClip, context: StageContext) -> LipSyncerSession:
        """Compute the person's statistics, fill the bank and plan all frames. Cached results are reused.

        A thread calls the driver meanwhile, because the motion does not depend on the person.
        """
        plan = load_plan(context)
        if plan is not None and len(plan) == clip.timeline.count:
            model = self._clip_model(clip, context)
        else:
            with motion_ahead(self._driver, clip.speech, clip.timeline, context) as motion:
                model = self._clip_model(clip, context)
                if model is not None:
                    plan = self._make_plan(clip, model, *motion(), context)
                    save_plan(plan, context)
        if model is None or plan is None:
            return _NoFaceSession()
        if model.identities[0].person.never_opens:
            context.observer.note(
                "the mouth never opens in this video; the mouth interior is rendered and the mouth moves less"
            )
        for note in self._driver_notes(clip.speech, context):
            context.observer.note(note)
        stored = context.cache.path(PLAN)
        if stored is not None:
            context.observer.artefact("mouth_plan", stored)
        return ExemplarSession(model, plan, self._config)

    def _clip_model(self, clip: LipSyncClip, context: StageContext) -> ClipModel | None:
        return load_or_build_clip_model(clip.analysis, clip.references, self._config.bank_size, context)

    def _driver_notes(self, speech: Speech, context: StageContext) -> list[str]:
        """Return the driver's notes about the speech.

        The notes are cached, because the driver does not run again if the plan is cached.
        """
        stored = context.cache.path(_NOTES)
        if stored is not None:
            return json.loads(stored.read_text(encoding="utf-8"))
        notes = list(self._driver.notes(speech)) if isinstance(self._driver, DriverWithNotes) else []
        with context.cache.write(_NOTES) as path:
            path.write_text(json.dumps(notes), encoding="utf-8")
        return notes

    def _make_plan(
        self,
        clip: LipSyncClip,
        model: ClipModel,
        motion: MouthMotion,
        times: NDArray[np.float64],
        context: StageContext,
    ) -> MouthPlan:
        """Return a plan that avoids occluded exemplars.

        After each plan, the newly selected exemplars are tested for occlusion. Occluded exemplars are excluded from the
        next plan. Planning stops if no new occlusion is found, or after ``_MAX_REPLANS`` repetitions.
        """
        analysis, timeline = clip.analysis, clip.timeline
        identities, bank = model.identities, model.bank
        blocked = dark_exemplars(identities, bank)

        def planned() -> MouthPlan:
            return make_plan(
                analysis,
                timeline,
                motion,
                times,
                identities,
                bank.exemplars,
                blocked,
                self._config,
                context,
                clip.strength,
            )

        checked = np.zeros(len(bank.exemplars), bool)
        for _ in range(_MAX_REPLANS):
            plan = planned()
            before = int(blocked.sum())
            for number, identity in enumerate(identities):
                used = np.unique(plan.exemplar[(plan.identity == number) & (plan.exemplar >= 0)]).astype(np.int64)
                used = used[~checked[used]]
                blocked[used] = occluded_exemplars(used, identity, bank)
                checked[used] = True
            if int(blocked.sum()) == before:
                return plan
        return planned()


class _NoFaceSession:
    """Session for a clip that contains no face."""

    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        return [NO_FACE] * len(batch.positions)

    def forecast(self, batch: SyncBatch) -> list[FrameForecast]:
        return [FrameForecast(0.0, NO_FACE.reason)] * len(batch.positions)

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Assessment:
    """Frame that can be edited."""

    identity: int
    part: FramePart
    shape: FrameGeometry
    layout: FrameLayout
    confidence: float
    reason: str
    cells: Float | None
    """Occluded cells, see ``OcclusionDetector.detect``. None without an occlusion detector."""
    occluded: float
    """Occluded fraction of the skin around the mouth."""


class ExemplarSession:
    """Renders planned frames independently of each other."""

    def __init__(self, model: ClipModel, plan: MouthPlan, config: ExemplarConfig) -> None:
        self._identities = model.identities
        self._bank = model.bank
        self._plan = plan
        self._renderers = [FrameRenderer(identity, model.bank, config) for identity in model.identities]
        self._sources = model.bank.exemplars.indexes
        self._small_occlusions: dict[tuple[int, int], float] = {}

    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        """Return one result per position.

        Frames without a face, with a large yaw or with a low confidence are passed through unchanged.
        """
        pose = mesh_space.unpack_pose(batch.faces.coefficients)
        return [self._sync_frame(batch, row, pose[row : row + 1]) for row in range(len(batch.positions))]

    def forecast(self, batch: SyncBatch) -> list[FrameForecast]:
        """Return the confidence and the reason of every result that ``sync`` would return."""
        pose = mesh_space.unpack_pose(batch.faces.coefficients)
        found = [self._assess(batch, row, pose[row : row + 1]) for row in range(len(batch.positions))]
        return [
            FrameForecast(0.0, each.reason)
            if isinstance(each, PassedThrough)
            else FrameForecast(each.confidence, each.reason)
            for each in found
        ]

    def _assess(self, batch: SyncBatch, row: int, pose: HeadPose) -> _Assessment | PassedThrough:
        """Return how confidently a frame can be edited, or why it is passed through."""
        position, plan = int(batch.positions[row]), self._plan
        landmarks = batch.faces.landmarks[row]
        if not np.isfinite(landmarks).all() or not np.isfinite(batch.faces.coefficients[row]).all():
            return NO_FACE
        number = int(plan.identity[position])
        if number < 0 or plan.exemplar[position] < 0:
            return TOO_FEW_FRAMES
        confidence = float(plan.confidence[position])
        reason = ""
        if confidence <= _FULL_CONFIDENCE:
            reason = LARGE_YAW if plan.yaw_weight[position] < _FULL_CONFIDENCE else LOW_CONFIDENCE
        if confidence < _MIN_CONFIDENCE:
            return PassedThrough(reason)
        identity, renderer = self._identities[number], self._renderers[number]
        width, height = batch.faces.frames.size
        target = identity.person.model.shape(plan.coefficients[position][None], plan.gap[position][None])[0]
        shape = frame_geometry(landmarks, pose, target, renderer.topology.mouth_weights)
        layout = renderer.layout(shape, width, height)
        if layout is None:
            return OUT_OF_FRAME
        part = FramePart(batch.faces.frames.crop(row, *layout.read), layout.read[:2])
        detector, cells, share = identity.occlusion_detector, None, 0.0
        if detector is not None and detector.grid is not None:
            cells, share = self._occlusion(
                detector, number, int(batch.faces.frames.indexes[row]), part, landmarks, pose
            )
            if share > _OCCLUSION_TRUST[0]:
                low, high = _OCCLUSION_FADE
                visible = 1 - float(np.clip((share - low) / (high - low), 0, 1))
                if visible * confidence < _MIN_CONFIDENCE:
                    return PassedThrough(OCCLUDED)
                reason = OCCLUDED if visible < _FULL_CONFIDENCE else reason
                confidence *= visible
        return _Assessment(number, part, shape, layout, confidence, reason, cells, share)

    def _occlusion(
        self, detector: OcclusionDetector, identity: int, index: int, part: FramePart, landmarks: Float, pose: HeadPose
    ) -> tuple[Float | None, float]:
        """Return the occluded cells and the occluded fraction of a source frame, see ``OcclusionDetector.detect``.

        The output may show a source frame several times. The small fractions of most frames are kept, without their
        cells, which have no effect.
        """
        if (known := self._small_occlusions.get((identity, index))) is not None:
            return None, known
        cells, share = detector.detect(part.image, landmarks, pose, part.corner)
        if share <= _OCCLUSION_TRUST[0]:
            self._small_occlusions[identity, index] = share
        return cells, share

    def _sync_frame(self, batch: SyncBatch, row: int, pose: HeadPose) -> FrameResult:
        found = self._assess(batch, row, pose)
        if isinstance(found, PassedThrough):
            return found
        identity, renderer = self._identities[found.identity], self._renderers[found.identity]
        landmarks = batch.faces.landmarks[row]
        mix = exemplar_mix(self._plan.exemplar, self._sources, int(batch.positions[row]))
        edit = renderer.render(found.part, found.shape, found.layout, mix)
        mask, detector = edit.mask, identity.occlusion_detector
        if detector is not None and found.cells is not None and found.occluded > _OCCLUSION_TRUST[0]:
            left, top = (int(-value) for value in edit.matrix[:, 2])
            occluded = detector.mask_of(found.cells, landmarks, (left, top, mask.shape[1], mask.shape[0]))
            low, high = _OCCLUSION_TRUST
            trust = min((found.occluded - low) / (high - low), 1.0)
            mask = mask * (1 - occluded * np.float32(trust))
        if found.confidence < _FULL_CONFIDENCE:
            mask = mask * np.float32(found.confidence)
        return replace(edit, mask=mask, confidence=found.confidence, reason=found.reason)

    def close(self) -> None:
        self._bank.close()
