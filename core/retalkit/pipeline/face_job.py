"""Face jobs. A face job contains all sessions that edit one face, from reference generation to enhancement."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from retalkit.media.timeline import OutputTimeline
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.pipeline.detect import StoredDetections
from retalkit.pipeline.edit_strength import EditStrength, opacity
from retalkit.pipeline.keys import JobKeys
from retalkit.pipeline.plan import Plan
from retalkit.pipeline.planned_stage import PlannedStage
from retalkit.pipeline.reference_chain import EnhancedReferences
from retalkit.pipeline.stage_errors import attribute_errors, validate_results
from retalkit.pipeline.steps import ClipSteps
from retalkit.pipeline.timing import Stopwatch
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import (
    EnhancementClip,
    EnhancerSession,
    ExpressionEditClip,
    ExpressionEditorSession,
    FrameBatch,
    FrameResult,
    LipSyncClip,
    LipSyncerSession,
    PassedThrough,
    ReferenceEnhancerSession,
    Session,
    Stage,
    StageContext,
    SyncBatch,
)

NO_FACE: Final = "no face"
OUTSIDE_CUES: Final = "outside the cues"
UNKNOWN_PERSON: Final = "person not recognised"

ClipT = TypeVar("ClipT")
SessionT = TypeVar("SessionT", bound=Session)


@dataclass(frozen=True, slots=True)
class SyncedFrames:
    """Lip-synced frames of one face before enhancement."""

    batch: SyncBatch
    results: list[FrameResult]


@dataclass(frozen=True, slots=True)
class FaceJob:
    """Open sessions for one face: expression editor, lip syncer and enhancers."""

    analysis: StoredAnalysis
    timeline: OutputTimeline
    editor: ExpressionEditorSession
    """Session that generates references with the expression editor and the reference enhancers."""
    lip_syncer: LipSyncerSession
    enhancers: Sequence[EnhancerSession]
    editor_label: str = "the expression editor"
    lip_syncer_label: str = "the lip syncer"
    enhancer_labels: Sequence[str] = ()
    name: str = ""
    """Name of the person in the run record."""
    strength: EditStrength | None = None
    """Strength of the edit over time, or None for the full strength at all times."""
    eases: bool = False
    """Whether the lip syncer moves the mouth in proportion to ``strength``."""
    unknown: frozenset[int] = frozenset()
    """Source frames in which a face was not recognised with sufficient confidence, but may be the job's face."""
    rejected: Mapping[int, str] = field(default_factory=dict[int, str])
    """Reason why the detected face contradicts the image, for each source frame with such a face."""
    watch: Stopwatch = field(default_factory=Stopwatch)
    """Accumulated time in seconds and number of frames per stage. Keys are configuration paths."""

    def has_face(self, index: int) -> bool:
        """Return whether the job's face is visible in the source frame."""
        return int(self.analysis.tracks(index, index + 1)[0]) >= 0

    def skip_reason(self, position: int, index: int) -> str:
        """Return why the face is not edited at an output position, or an empty string if the face is edited.

        ``index``: source frame index.
        """
        if self.strength is not None and self.strength(self.timeline.times(position, position + 1))[0] <= 0:
            return OUTSIDE_CUES
        if not self.has_face(index):
            return UNKNOWN_PERSON if index in self.unknown else self.rejected.get(index, NO_FACE)
        return ""

    def sync(self, frames: FrameBatch, first: int) -> SyncedFrames:
        """Lip-sync consecutive output frames, starting at position ``first``.

        ``frames``: source frame of each output frame. All frames must show the job's face.
        """
        faces = self.analysis.faces(frames)
        count = len(frames.indexes)
        with self.watch.timing("expression_editor", count), attribute_errors(self.editor_label, self.editor):
            references = self.editor.edit(faces)
        batch = SyncBatch(
            positions=np.arange(first, first + count, dtype=np.int64),
            times=self.timeline.times(first, first + count),
            faces=faces,
            references=references,
        )
        label = self.lip_syncer_label
        with self.watch.timing("lip_syncer", count), attribute_errors(label, self.lip_syncer, references):
            return SyncedFrames(batch, validate_results(self.lip_syncer.sync(batch), count, label))

    def enhance(self, synced: SyncedFrames) -> list[FrameResult]:
        """Return the edits after all enhancers have been applied."""
        results, batch = synced.results, synced.batch
        for number, enhancer in enumerate(self.enhancers):
            label = self.enhancer_labels[number] if number < len(self.enhancer_labels) else "an enhancer"
            with (
                self.watch.timing(f"enhancers.{number}", len(results)),
                attribute_errors(label, enhancer, batch.references),
            ):
                results = validate_results(enhancer.enhance(batch, results), len(results), label)
        return results if self.strength is None else self._faded(results, self.strength(batch.times))

    def _faded(self, results: Sequence[FrameResult], strength: NDArray[np.float32]) -> list[FrameResult]:
        """Return the edits with the opacity that follows from their strength."""
        opacities = opacity(strength, self.eases)
        return [
            result
            if isinstance(result, PassedThrough) or share >= 1
            else replace(result, mask=result.mask * np.float32(share))
            for result, share in zip(results, opacities, strict=True)
        ]


@contextmanager
def open_face_job(
    plan: Plan,
    steps: ClipSteps,
    keys: JobKeys,
    analysis: StoredAnalysis,
    timeline: OutputTimeline,
    speech: SpeechTrack,
    *,
    name: str = "",
    strength: EditStrength | None = None,
    unknown: frozenset[int] = frozenset(),
) -> Generator[FaceJob]:
    """Open the sessions for one face and close the sessions when the context exits.

    With a ``strength``, the lip syncer receives only the part of the timeline up to the last edited frame.
    """
    shown = timeline if strength is None else timeline.until(strength.stop)
    with ExitStack() as stack:

        def opened(
            planned: PlannedStage[Any],
            stage: Stage,
            open_session: Callable[[ClipT, StageContext], SessionT],
            clip: ClipT,
            key: str,
        ) -> SessionT:
            with attribute_errors(planned.owner, stage):
                session = open_session(clip, steps.context(planned, steps.cache.entry(key)))
            stack.callback(session.close)
            return session

        enhancement_clip = EnhancementClip(analysis=analysis)
        with steps.timer.step("references", None, steps.cache.entry(keys.references)):
            editor = steps.make(plan.expression_editor)
            edit_clip = ExpressionEditClip(analysis=analysis)
            edited = opened(plan.expression_editor, editor, editor.open, edit_clip, keys.references)
            reference_enhancers: list[ReferenceEnhancerSession] = []
            for planned, key in zip(plan.reference_enhancers, keys.reference_enhancers, strict=True):
                stage = steps.make(planned)
                reference_enhancers.append(opened(planned, stage, stage.open_references, enhancement_clip, key))
        references = EnhancedReferences(edited, reference_enhancers)
        with steps.timer.step("lips", None, steps.cache.entry(keys.lips)):
            syncer = steps.make(plan.lip_syncer)
            clip = LipSyncClip(
                analysis=analysis, references=references, timeline=shown, speech=speech, strength=strength
            )
            lip_syncer = opened(plan.lip_syncer, syncer, syncer.open, clip, keys.lips)
        enhancers: list[EnhancerSession] = []
        for planned, key in zip(plan.enhancers, keys.enhancers, strict=True):
            enhancer = steps.make(planned)
            enhancers.append(opened(planned, enhancer, enhancer.open, enhancement_clip, key))
        yield FaceJob(
            analysis=analysis,
            timeline=timeline,
            editor=references,
            lip_syncer=lip_syncer,
            enhancers=enhancers,
            editor_label=plan.expression_editor.owner,
            lip_syncer_label=plan.lip_syncer.owner,
            enhancer_labels=[stage.owner for stage in plan.enhancers],
            name=name,
            strength=strength,
            eases=plan.lip_syncer.found.spec.eases,
            unknown=unknown,
            rejected=StoredDetections(steps.cache.entry(keys.analysis.detections).folder).rejected(),
        )
