"""Cache keys of a run. A step's key depends on the stage identity and on the keys of the step's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retalkit.media.timeline import OutputTimeline
from retalkit.photo_motion import animator
from retalkit.pipeline import detect, face_descriptors, segments, speech, track, tracklets
from retalkit.pipeline.plan import Plan
from retalkit.pipeline.planned_stage import PlannedStage, inference_identity
from retalkit.storage.cache import make_key


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisKeys:
    """Cache keys for the analysis of one face in the source video."""

    detections: str
    """Cache key of the detections, which does not depend on which face is selected for editing."""
    track: str
    coefficients: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKeys:
    """Cache keys of the steps that edit one face."""

    speech: tuple[str, ...]
    """Cache keys of the speeches that move the face's mouth."""
    analysis: AnalysisKeys
    references: str
    reference_enhancers: tuple[str, ...]
    lips: str
    enhancers: tuple[str, ...]

    @property
    def last(self) -> str:
        """Key of the last step before compositing."""
        return self.enhancers[-1] if self.enhancers else self.lips


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKeys:
    """Cache keys of all steps in a run."""

    jobs: tuple[JobKeys, ...]
    """Keys of each edited face."""
    pixels: str
    """Cache key of the encoded segments. An interrupted run resumes from the segments under this key."""
    others: tuple[str, ...] = ()
    """Cache keys of the steps that find the persons of the clip."""

    def all(self) -> set[str]:
        """Return all cache keys of the run. Cache pruning must keep the corresponding entries."""
        keys = {self.pixels, *self.others}
        for job in self.jobs:
            analysis = job.analysis
            keys |= {*job.speech, analysis.detections, analysis.track, analysis.coefficients, job.references, job.lips}
            keys |= {*job.reference_enhancers, *job.enhancers}
        return keys


def speech_key(plan: Plan, content: str) -> str:
    """Return the cache key of the denoised speech and voice activity. ``content`` is the SHA-256 hash of the audio
    file."""
    activity = plan.config.voice_activity.model_dump(mode="json")
    track = plan.config.speech_track
    chosen = [] if track is None else [track]
    return make_key("speech", speech.VERSION, content, activity, _identity(plan, plan.denoiser), *chosen)


def analysis_keys(plan: Plan, content: str, frames: int) -> AnalysisKeys:
    """Return the cache keys for the first ``frames`` frames of a video. ``content`` is the video's SHA-256 hash."""
    detections = make_key("detections", detect.VERSION, content, frames, _identity(plan, plan.detector))
    tracked = make_key("track", track.VERSION, detections, plan.config.face)
    coefficients = make_key("coefficients", tracked, _identity(plan, plan.reconstructor))
    return AnalysisKeys(detections=detections, track=tracked, coefficients=coefficients)


def tracklets_key(detections: str) -> str:
    """Return the cache key of the tracklets of all faces."""
    return make_key("tracklets", tracklets.VERSION, detections)


def descriptors_key(plan: Plan, tracked: str) -> str:
    """Return the cache key of the face descriptors."""
    identity = None if plan.recogniser is None else plan.recogniser.identity()
    return make_key("descriptors", face_descriptors.VERSION, tracked, identity)


def person_keys(plan: Plan, detections: str, tracked_faces: str, numbers: Sequence[int]) -> AnalysisKeys:
    """Return the cache keys for the analysis of the person with the tracklets ``numbers``."""
    tracked = make_key("person", track.VERSION, tracked_faces, sorted(numbers))
    coefficients = make_key("coefficients", tracked, _identity(plan, plan.reconstructor))
    return AnalysisKeys(detections=detections, track=tracked, coefficients=coefficients)


def run_keys(
    plan: Plan, *, video: str, audio: str, frames: int, timeline: OutputTimeline, is_photo: bool = False
) -> RunKeys:
    """Return all cache keys of a run that edits one face with one speech.

    ``video`` and ``audio`` are the SHA-256 hashes of the inputs. ``frames`` is the number of analysed source frames.
    ``is_photo`` indicates whether the video is a still image.
    """
    heard = speech_key(plan, audio)
    job = job_keys(plan, analysis_keys(plan, video, frames), (heard,), timeline)
    pixels = make_key(
        "pixels", segments.VERSION, job.last, plan.config.output.encoding_key(), *_animation(plan, is_photo)
    )
    return RunKeys(jobs=(job,), pixels=pixels)


def job_keys(
    plan: Plan,
    analysis: AnalysisKeys,
    speech: tuple[str, ...],
    timeline: OutputTimeline,
    edits: Sequence[object] | None = None,
) -> JobKeys:
    """Return the cache keys of the steps that edit one face.

    ``edits``: data that identifies the cues, or None if one speech moves the mouth from the start to the end.
    """
    config = plan.config
    references = make_key("references", analysis.coefficients, _identity(plan, plan.expression_editor))
    reference_enhancers = _chain("reference_enhancer", references, plan, plan.reference_enhancers)
    read = reference_enhancers[-1] if reference_enhancers else references
    shown: list[object] = [config.length, config.extend, timeline.count, round(timeline.duration, 6)]
    shown += [round(timeline.start, 6)] if timeline.start else []
    heard: object = speech[0]
    if edits is not None:
        shown, heard = ["cues", timeline.count, round(timeline.duration, 6), *shown[4:]], [*speech, edits]
    lips = make_key("lips", read, heard, shown, _identity(plan, plan.lip_syncer))
    return JobKeys(
        speech=speech,
        analysis=analysis,
        references=references,
        reference_enhancers=reference_enhancers,
        lips=lips,
        enhancers=_chain("enhancer", lips, plan, plan.enhancers),
    )


def cue_run_keys(
    plan: Plan, jobs: tuple[JobKeys, ...], *, video: str, others: tuple[str, ...], is_photo: bool
) -> RunKeys:
    """Return all cache keys of a run with cues. ``video`` is the SHA-256 hash of the video."""
    last = [job.last for job in jobs]
    pixels = make_key(
        "pixels", segments.VERSION, video, last, plan.config.output.encoding_key(), *_animation(plan, is_photo)
    )
    return RunKeys(jobs=jobs, pixels=pixels, others=others)


def _animation(plan: Plan, is_photo: bool) -> list[object]:
    return [animator.VERSION, plan.config.photo.model_dump(), plan.config.seed] if is_photo else []


def _chain(name: str, first: str, plan: Plan, stages: tuple[PlannedStage[Any], ...]) -> tuple[str, ...]:
    keys: list[str] = []
    for stage in stages:
        keys.append(make_key(name, keys[-1] if keys else first, _identity(plan, stage)))
    return tuple(keys)


def _identity(plan: Plan, stage: PlannedStage[Any]) -> dict[str, Any]:
    return {**stage.identity(), **inference_identity(plan.config, stage), "seed": plan.config.seed}
