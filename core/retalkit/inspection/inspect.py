"""Computation of an inspection. All results are cached, so the run that follows does not compute them again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retalkit._version import __version__
from retalkit.config import RunConfig
from retalkit.config.model import effective
from retalkit.inspection.estimate import TrialTimes, estimate_time, run_trial
from retalkit.inspection.model import Inspection, LengthInfo, PersonInfo, ShotInfo, SpeechInfo, StageViews, VideoInfo
from retalkit.inspection.outcomes import Moment, absence_details, forecast_moments, join_spans, sample_moments
from retalkit.inspection.persons import measure_faces, opening_distribution, opening_range
from retalkit.inspection.pictures import around_face, make_picture
from retalkit.inspection.sound_map import describe_speech
from retalkit.inspection.stage_views import stage_views
from retalkit.media.sound import open_sound
from retalkit.media.sources import MediaSource, open_source
from retalkit.media.timeline import OutputTimeline, build_timeline
from retalkit.observer import Observer, SilentObserver
from retalkit.pipeline.analysis_store import StoredAnalysis, analysed_part
from retalkit.pipeline.detect import StoredDetections
from retalkit.pipeline.face_job import FaceJob, open_face_job
from retalkit.pipeline.keys import run_keys
from retalkit.pipeline.photo import photo_animators
from retalkit.pipeline.plan import plan
from retalkit.pipeline.speech import open_stored
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.speech.loudness import SILENT
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import SPEECH_RATE, FrameForecast, ObjectPool
from retalkit.storage.cache import Cache, content_hash, default_folder

_SHOT_SIZE, _FACE_SIZE = 320, 192
_PHOTO_SECONDS = 1.0
"""Duration of a photo that is inspected without a speech."""


def inspect(
    video: Path | str,
    speech: Path | str | None = None,
    *,
    config: RunConfig | None = None,
    registry: Registry | None = None,
    observer: Observer | None = None,
    cache: Path | None = None,
    pool: ObjectPool | None = None,
    cancellation: threading.Event | None = None,
    stages: bool = False,
) -> Inspection:
    """Return what a run with the same arguments would do, without rendering the video.

    Without ``speech``, the speech is silence of the video's duration. ``stages`` adds what each stage makes of a few
    frames.

    Raises the errors of ``retalkit.dub``.
    """
    registry = registry if registry is not None else discover()
    config = config if config is not None else RunConfig.from_preset("embedded", registry=registry)
    notes = _NoteCollector(observer or SilentObserver())
    chosen = plan(config, registry)
    video = Path(video)
    source = open_source(video)
    steps = ClipSteps(chosen, Cache(cache if cache is not None else default_folder()), notes, pool, cancellation)
    for warning in source.warnings:
        notes.note(warning)

    heard = _hear(Path(speech), steps) if speech is not None else _silence(source)
    timeline = build_timeline(source, heard.track.duration, config.length, config.extend)
    if timeline.note and speech is not None:
        notes.note(timeline.note)
    limited = analysed_part(source, timeline, config.analysis_seconds)
    (keys,) = run_keys(
        chosen,
        video=content_hash(video),
        audio=heard.content,
        frames=limited.info.frame_count,
        timeline=timeline,
        is_photo=source.info.is_photo,
    ).jobs
    analysis = steps.fit(steps.track(limited, keys.analysis, video), keys.analysis)
    detections = StoredDetections(steps.cache.entry(keys.analysis.detections).folder)
    with open_face_job(chosen, steps, keys, analysis, timeline, heard.track) as job:
        axis = _Axis.of(source, limited.info.frame_count, timeline)
        moments = sample_moments(source, axis.count, axis.positions, axis.times)
        forecasts = forecast_moments(job, moments)
        detector, size = steps.make(chosen.detector), source.size
        details = absence_details(detections, detector, *size)
        edited = [moment for moment in moments if moment in forecasts and forecasts[moment].confidence > 0]
        animators = photo_animators(source, [(analysis, heard.track)], timeline, steps)
        trial = (
            run_trial(source, job, animators, edited, config.output.encoding(source))
            if edited
            else TrialTimes(0.0, 0.0, 0.0, 0)
        )
        views: StageViews | None = stage_views(job, moments, detections, steps, keys) if stages else None
    share = _edited_share(job, timeline, forecasts, moments)
    shots = _shots(source, detections, axis, moments, forecasts, details)
    return Inspection(
        video=_video_info(video, source, limited.info.duration, timeline),
        shots=shots,
        persons=(_person(config, analysis, shots, axis),),
        speech=heard.info,
        length=None
        if speech is None
        else LengthInfo(source.info.duration, heard.track.duration, timeline.duration, timeline.note),
        estimate=estimate_time(trial, steps.timer, round(share * timeline.count), timeline.count),
        stages=views,
        notes=tuple(notes.texts),
        configuration=effective(config, registry),
        sampled=max(1, -(-axis.count // max(len(moments), 1))),
        retalkit=__version__,
    )


class _NoteCollector:
    """Observer that forwards all events to another observer and keeps the notes."""

    def __init__(self, outer: Observer) -> None:
        self._outer = outer
        self.texts: list[str] = []

    def started(self, step: str, total: int | None) -> None:
        self._outer.started(step, total)

    def advanced(self, step: str, done: int) -> None:
        self._outer.advanced(step, done)

    def finished(self, step: str, seconds: float, cached: bool) -> None:
        self._outer.finished(step, seconds, cached)

    def note(self, text: str) -> None:
        if text not in self.texts:
            self.texts.append(text)
            self._outer.note(text)

    def artefact(self, name: str, path: Path) -> None:
        self._outer.artefact(name, path)


@dataclass(frozen=True, slots=True)
class _Heard:
    """Speech of the inspected run."""

    track: SpeechTrack
    content: str
    """Content hash for cache keys."""
    info: SpeechInfo | None


def _hear(path: Path, steps: ClipSteps) -> _Heard:
    from retalkit.pipeline.keys import speech_key

    sound = open_sound(path)
    for warning in sound.warnings:
        steps.observer.note(warning)
    content = content_hash(path)
    key = speech_key(steps.plan, content)
    track = steps.speech(sound, key)
    _, note = open_stored(steps.cache.entry(key))
    return _Heard(track, content, describe_speech(path.name, track, note))


class _Zeros:
    """Reader of a silent recording."""

    def __init__(self, count: int) -> None:
        self.sample_count = count

    def read(self, start_sample: int, stop_sample: int) -> NDArray[np.float32]:
        return np.zeros(max(stop_sample - start_sample, 0), np.float32)


def _silence(source: MediaSource) -> _Heard:
    seconds = _PHOTO_SECONDS if source.info.is_photo else source.info.duration
    samples = _Zeros(max(round(seconds * SPEECH_RATE), 1))
    return _Heard(SpeechTrack(samples, samples, SILENT), f"silence {samples.sample_count}", None)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Time axis of the inspection: the frames of a video, or the output frames of a photo."""

    count: int
    positions: NDArray[np.int64]
    """First output position that shows each frame, int64 [count], or -1."""
    times: NDArray[np.float64]
    """Start time of each frame and end of the last frame in seconds, float64 [count + 1]."""

    @classmethod
    def of(cls, source: MediaSource, frames: int, timeline: OutputTimeline) -> _Axis:
        if source.info.is_photo:
            times = np.append(timeline.times(0, timeline.count), timeline.duration)
            return cls(timeline.count, np.arange(timeline.count, dtype=np.int64), times)
        positions = np.full(frames, -1, np.int64)
        sources = timeline.sources(0, timeline.count)
        # The first of several positions is kept.
        positions[sources[::-1]] = np.arange(timeline.count, dtype=np.int64)[::-1]
        times = source.times(0, source.info.frame_count)
        end = float(times[frames]) if frames < len(times) else source.info.duration
        return cls(frames, positions, np.append(times[:frames], end))


def _edited_share(
    job: FaceJob, timeline: OutputTimeline, forecasts: dict[Moment, FrameForecast], moments: Sequence[Moment]
) -> float:
    """Return the share of the output frames that are edited."""
    used = [moment for moment in moments if moment.position >= 0]
    edited = sum(moment in forecasts and forecasts[moment].confidence > 0 for moment in used)
    return edited / max(len(used), 1)


def _shots(
    source: MediaSource,
    detections: StoredDetections,
    axis: _Axis,
    moments: Sequence[Moment],
    forecasts: dict[Moment, FrameForecast],
    details: Sequence[str],
) -> tuple[ShotInfo, ...]:
    starts, faces = [0], list[int]()
    for frame in detections:
        if frame.is_cut:
            starts.append(frame.index)
        faces.append(sum(face.score >= 0.5 for face in frame.faces))
    if source.info.is_photo:
        faces = faces * axis.count
    stops = [*starts[1:], axis.count]
    shots: list[ShotInfo] = []
    for number, (start, stop) in enumerate(zip(starts, stops, strict=True), 1):
        first, last = float(axis.times[start]), float(axis.times[stop])
        inside = [
            Moment(each.index, each.position, max(each.start, first), min(each.end, last))
            for each in moments
            if each.end > first and each.start < last
        ]
        known = {
            part: forecasts[each]
            for part, each in zip(
                inside, (each for each in moments if each.end > first and each.start < last), strict=True
            )
            if each in forecasts
        }
        middle = 0 if source.info.is_photo else (start + stop) // 2
        _, image = next(iter(source.read([middle])))
        picture = make_picture(f"shot-{number}", image, _SHOT_SIZE, f"shot {number}")
        spans = join_spans(inside, known, details)
        shots.append(ShotInfo(number, first, last, stop - start, picture, max(faces[start:stop], default=0), spans))
    return tuple(shots)


def _person(config: RunConfig, analysis: StoredAnalysis, shots: Sequence[ShotInfo], axis: _Axis) -> PersonInfo:
    measures = measure_faces(analysis)
    best = measures.best_frame()
    _, image = next(iter(analysis.source.read([best])))
    picture = make_picture("person-1", around_face(image, analysis.boxes(best, best + 1)[0]), _FACE_SIZE, "face")
    if analysis.source.info.is_photo:
        visible = float(axis.times[-1])
    else:
        visible = float(np.diff(axis.times)[measures.indexes].sum())
    times = axis.times[measures.indexes]
    seen = tuple(shot.number for shot in shots if ((times >= shot.start) & (times < shot.end)).any())
    return PersonInfo(
        id=str(config.face),
        picture=picture,
        chosen=True,
        visible=visible,
        shots=seen,
        face_width=float(np.median(measures.widths)),
        face_share=float(np.median(measures.heights)) / analysis.source.info.height,
        largest_yaw=float(np.percentile(measures.yaws, 95)),
        opening=opening_range(measures.openings),
        openings=opening_distribution(measures.openings),
    )


def _video_info(path: Path, source: MediaSource, analysed: float, timeline: OutputTimeline) -> VideoInfo:
    info = source.info
    return VideoInfo(
        name=path.name,
        width=info.width,
        height=info.height,
        frames=info.frame_count,
        duration=timeline.duration if info.is_photo else info.duration,
        rate=float(source.rate),
        is_photo=info.is_photo,
        inspected=timeline.duration if info.is_photo else analysed,
    )
