"""Cache keys of a run. A step's key depends on the stage identity and on the keys of the step's inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from retalkit.media.timeline import OutputTimeline
from retalkit.photo_motion import animator
from retalkit.pipeline import detect, speech, track
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
class RunKeys:
    """Cache keys of all steps in a run."""

    speech: str
    analysis: AnalysisKeys
    references: str
    reference_enhancers: tuple[str, ...]
    lips: str
    enhancers: tuple[str, ...]
    pixels: str
    """Cache key of the encoded segments. An interrupted run resumes from the segments under this key."""

    def all(self) -> set[str]:
        """Return all cache keys of the run. Cache pruning must keep the corresponding entries."""
        analysis = (self.analysis.detections, self.analysis.track, self.analysis.coefficients)
        single = (self.speech, *analysis, self.references, self.lips, self.pixels)
        return {*single, *self.reference_enhancers, *self.enhancers}


def speech_key(plan: Plan, content: str) -> str:
    """Return the cache key of the denoised speech and voice activity. ``content`` is the SHA-256 hash of the audio
    file."""
    activity = plan.config.voice_activity.model_dump(mode="json")
    return make_key("speech", speech.VERSION, content, activity, _identity(plan, plan.denoiser))


def analysis_keys(plan: Plan, content: str, frames: int) -> AnalysisKeys:
    """Return the cache keys for the first ``frames`` frames of a video. ``content`` is the video's SHA-256 hash."""
    detections = make_key("detections", detect.VERSION, content, frames, _identity(plan, plan.detector))
    tracked = make_key("track", track.VERSION, detections, plan.config.face)
    coefficients = make_key("coefficients", tracked, _identity(plan, plan.reconstructor))
    return AnalysisKeys(detections=detections, track=tracked, coefficients=coefficients)


def run_keys(
    plan: Plan, *, video: str, audio: str, frames: int, timeline: OutputTimeline, is_photo: bool = False
) -> RunKeys:
    """Return all cache keys of a run.

    ``video`` and ``audio`` are the SHA-256 hashes of the inputs. ``frames`` is the number of analysed source frames.
    ``is_photo`` indicates whether the video is a still image.
    """
    config = plan.config
    heard = speech_key(plan, audio)
    analysis = analysis_keys(plan, video, frames)
    references = make_key("references", analysis.coefficients, _identity(plan, plan.expression_editor))
    reference_enhancers = _chain("reference_enhancer", references, plan, plan.reference_enhancers)
    shown = [config.length, config.extend, timeline.count, round(timeline.duration, 6)]
    read = reference_enhancers[-1] if reference_enhancers else references
    lips = make_key("lips", read, heard, shown, _identity(plan, plan.lip_syncer))
    enhancers = _chain("enhancer", lips, plan, plan.enhancers)
    animation = [animator.VERSION, config.photo.model_dump(), config.seed] if is_photo else []
    pixels = make_key("pixels", enhancers[-1] if enhancers else lips, config.output.encoding_key(), *animation)
    return RunKeys(
        speech=heard,
        analysis=analysis,
        references=references,
        reference_enhancers=reference_enhancers,
        lips=lips,
        enhancers=enhancers,
        pixels=pixels,
    )


def _chain(name: str, first: str, plan: Plan, stages: tuple[PlannedStage[Any], ...]) -> tuple[str, ...]:
    keys: list[str] = []
    for stage in stages:
        keys.append(make_key(name, keys[-1] if keys else first, _identity(plan, stage)))
    return tuple(keys)


def _identity(plan: Plan, stage: PlannedStage[Any]) -> dict[str, Any]:
    return {**stage.identity(), **inference_identity(plan.config, stage), "seed": plan.config.seed}
