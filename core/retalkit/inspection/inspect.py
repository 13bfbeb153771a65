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
from retalkit.cues.model import CueSheet
from retalkit.cues.sheet_file import read_sheet
from retalkit.cues.validation import check_cues
from retalkit.inspection.estimate import NO_TRIAL, TrialTimes, estimate_time, run_trial
from retalkit.inspection.model import (
    Inspection,
    LengthInfo,
    PersonInfo,
    PersonSpans,
    ShotInfo,
    SpeechInfo,
    StageViews,
    VideoInfo,
)
from retalkit.inspection.outcomes import (
    SCORE,
    Moment,
    Result,
    absence_details,
    best_results,
    forecast_moments,
    join_spans,
    results_of,
    sample_moments,
)
from retalkit.inspection.persons import measure_persons
from retalkit.inspection.pictures import around_face, make_picture
from retalkit.inspection.sound_map import describe_speech
from retalkit.inspection.stage_views import stage_views
from retalkit.media.encoding import check_encoder
from retalkit.media.sound import open_sound
from retalkit.media.sources import MediaSource, open_source
from retalkit.media.timeline import OutputTimeline, build_timeline
from retalkit.observer import Observer, SilentObserver
from retalkit.pipeline.analysis_store import LimitedSource, analysed_part
from retalkit.pipeline.clip_persons import FoundPersons, find_persons
from retalkit.pipeline.cue_run import JobInput, check_options, prepare_cues
from retalkit.pipeline.detect import StoredDetections
from retalkit.pipeline.devices import device_note
from retalkit.pipeline.face_job import open_face_job
from retalkit.pipeline.keys import run_keys, speech_key
from retalkit.pipeline.photo import photo_animators
from retalkit.pipeline.plan import plan
from retalkit.pipeline.speech import open_stored
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.speech.loudness import SILENT
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import SPEECH_RATE, ObjectPool
from retalkit.storage.cache import Cache, content_hash, default_folder

_SHOT_SIZE, _FACE_SIZE = 320, 192
_PHOTO_SECONDS = 1.0
"""Duration of a photo that is inspected without a speech."""


def inspect(
    video: Path | str,
    speech: Path | str | None = None,
    *,
    cues: CueSheet | Path | str | None = None,
    config: RunConfig | None = None,
    registry: Registry | None = None,
    observer: Observer | None = None,
    cache: Path | None = None,
    pool: ObjectPool | None = None,
    cancellation: threading.Event | None = None,
    stages: bool = False,
) -> Inspection:
    """Return what a run with the same arguments would do, without rendering the video.

    Without ``speech`` and ``cues``, the speech is silence of the video's duration. ``stages`` adds what each stage
    makes of a few frames.

    Raises the errors of ``retalkit.dub``.
    """
    registry = registry if registry is not None else discover()
    config = config if config is not None else RunConfig.from_preset("embedded", registry=registry)
    notes = _NoteCollector(observer or SilentObserver())
    video = Path(video)
    given = None if speech is None else Path(speech)
    sheet = read_sheet(Path(cues), given) if isinstance(cues, str | Path) else cues
    if sheet is not None:
        check_options(config)
    chosen = plan(config, registry)
    source = open_source(video)
    encoding = config.output.encoding(source)
    check_encoder(encoding)
    steps = ClipSteps(chosen, Cache(cache if cache is not None else default_folder()), notes, pool, cancellation)
    for warning in (device_note(chosen.config, chosen.stages), *source.warnings):
        if warning:
            notes.note(warning)
    content = content_hash(video)
    run = _prepare_speech(steps, source, video, given) if sheet is None else _prepare_cues(steps, source, video, sheet)
    for text in run.notes:
        notes.note(text)
    persons = find_persons(steps, run.limited, content, required=False)
    axis = _Axis.of(source, run.limited.info.frame_count, run.timeline)
    moments = sample_moments(source, axis.count, axis.positions, axis.times)
    details = absence_details(persons.tracked.detections, steps.make(chosen.detector), *source.size)
    results: list[list[Result]] = []
    trials: list[tuple[TrialTimes, int]] = []
    views: list[StageViews] = []
    names = _ids(run.jobs, persons)
    animators = photo_animators(source, [(each.analysis, each.speech) for each in run.jobs], run.timeline, steps)
    for id_, each in zip(names, run.jobs, strict=True):
        opened = open_face_job(
            chosen,
            steps,
            each.keys,
            each.analysis,
            run.timeline,
            each.speech,
            name=each.name,
            strength=each.strength,
            unknown=each.unknown,
        )
        with opened as job:
            forecasts = forecast_moments(job, moments)
            results.append(results_of(job, moments, forecasts, details))
            edited = [moment for moment in moments if moment in forecasts and forecasts[moment].confidence > 0]
            used = sum(moment.position >= 0 for moment in moments)
            trial = run_trial(source, job, animators, edited, encoding) if edited else NO_TRIAL
            trials.append((trial, round(len(edited) / max(used, 1) * run.timeline.count)))
            if stages:
                views += stage_views(job, id_, moments, persons.tracked.detections, steps, each.keys)
    return Inspection(
        video=_video_info(video, source, run.limited.info.duration, run.timeline),
        shots=_shots(source, persons.tracked.detections, axis, moments, list(names), results),
        persons=_persons(names, persons, run.limited, axis),
        speeches=run.speeches,
        length=run.length,
        estimate=estimate_time(trials, steps.timer, run.timeline.count),
        stages=tuple(views),
        notes=tuple(notes.texts),
        configuration=effective(config, registry),
        sampled=max(1, -(-axis.count // max(len(moments), 1))),
        retalkit=__version__,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _InspectedRun:
    """Face jobs and inputs of the run that is inspected."""

    jobs: Sequence[JobInput]
    timeline: OutputTimeline
    limited: LimitedSource
    speeches: tuple[SpeechInfo, ...]
    length: LengthInfo | None
    notes: Sequence[str]


def _prepare_speech(steps: ClipSteps, source: MediaSource, video: Path, speech: Path | None) -> _InspectedRun:
    """Prepare a run that edits one face with one speech, or with silence."""
    config, is_photo = steps.plan.config, source.info.is_photo
    notes: list[str] = []
    info: tuple[SpeechInfo, ...] = ()
    if speech is None:
        seconds = _PHOTO_SECONDS if is_photo else source.info.duration
        samples = _Zeros(max(round(seconds * SPEECH_RATE), 1))
        track, audio = SpeechTrack(samples, samples, SILENT), f"silence {samples.sample_count}"
    else:
        sound, audio = open_sound(speech, config.speech_track), content_hash(speech)
        notes += sound.warnings
        key = speech_key(steps.plan, audio)
        track = steps.speech(sound, key)
        info = (describe_speech(speech.name, track, open_stored(steps.cache.entry(key))[1]),)
    timeline = build_timeline(source, track.duration, config.length, config.extend)
    length = None
    if speech is not None:
        length = LengthInfo(source.info.duration, track.duration, timeline.duration, timeline.note)
        notes += [timeline.note] if timeline.note else []
    limited = analysed_part(source, timeline, config.analysis_seconds)
    keys = run_keys(
        steps.plan,
        video=content_hash(video),
        audio=audio,
        frames=limited.info.frame_count,
        timeline=timeline,
        is_photo=is_photo,
    )
    (job,) = keys.jobs
    analysis = steps.fit(steps.track(limited, job.analysis, video), job.analysis)
    face = JobInput(name=str(config.face), keys=job, analysis=analysis, speech=track)
    return _InspectedRun(jobs=(face,), timeline=timeline, limited=limited, speeches=info, length=length, notes=notes)


def _prepare_cues(steps: ClipSteps, source: MediaSource, video: Path, sheet: CueSheet) -> _InspectedRun:
    """Prepare a run with cues."""
    is_photo = source.info.is_photo
    checked = check_cues(sheet, None if is_photo else source.info.duration, steps.plan.config.speech_track)
    timeline = build_timeline(source, checked.last, "speech" if is_photo else "video")
    limited = analysed_part(source, timeline.until(checked.last), steps.plan.config.analysis_seconds)
    prepared = prepare_cues(steps, source, limited, checked, timeline, video)
    warnings = [warning for sound in checked.sounds.values() for warning in sound.warnings]
    return _InspectedRun(
        jobs=prepared.jobs,
        timeline=timeline,
        limited=limited,
        speeches=tuple(describe_speech(each.name, each.speech, "") for each in prepared.jobs),
        length=None,
        notes=[*warnings, *checked.notes, *prepared.notes],
    )


def _ids(jobs: Sequence[JobInput], found: FoundPersons) -> dict[str, str]:
    """Return the id of the person that each job edits, with the name of the job, in the order of the jobs."""
    names: dict[str, str] = {}
    for job in jobs:
        votes: dict[str, int] = {}
        for frame, tracks in found.tracked:
            if frame.index >= job.analysis.source.info.frame_count:
                break
            points = job.analysis.landmarks(frame.index, frame.index + 1)[0]
            if not np.isfinite(points).all():
                continue
            distances = [float(np.abs(face.landmarks - points).mean()) for face in frame.faces]
            if distances:
                person = found.persons.of_tracklet(int(tracks[int(np.argmin(distances))]))
                name = job.name if person is None else person.name
                votes[name] = votes.get(name, 0) + 1
        names[max(votes, key=lambda name: votes[name]) if votes else job.name] = job.name
    return names


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


class _Zeros:
    """Reader of a silent recording."""

    def __init__(self, count: int) -> None:
        self.sample_count = count

    def read(self, start_sample: int, stop_sample: int) -> NDArray[np.float32]:
        return np.zeros(max(stop_sample - start_sample, 0), np.float32)


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


def _shots(
    source: MediaSource,
    detections: StoredDetections,
    axis: _Axis,
    moments: Sequence[Moment],
    ids: Sequence[str],
    results: Sequence[Sequence[Result]],
) -> tuple[ShotInfo, ...]:
    starts, faces = [0], list[int]()
    for frame in detections:
        if frame.is_cut:
            starts.append(frame.index)
        faces.append(sum(face.score >= SCORE for face in frame.faces))
    if source.info.is_photo:
        faces = faces * axis.count
    stops = [*starts[1:], axis.count]
    best = best_results(results)
    shots: list[ShotInfo] = []
    for number, (start, stop) in enumerate(zip(starts, stops, strict=True), 1):
        first, last = float(axis.times[start]), float(axis.times[stop])
        middle = 0 if source.info.is_photo else (start + stop) // 2
        _, image = next(iter(source.read([middle])))
        shots.append(
            ShotInfo(
                number=number,
                start=first,
                end=last,
                frames=stop - start,
                picture=make_picture(f"shot-{number}", image, _SHOT_SIZE, f"shot {number}"),
                faces=max(faces[start:stop], default=0),
                results=tuple(
                    PersonSpans(person, join_spans(moments, each, first, last))
                    for person, each in zip(ids, results, strict=True)
                ),
                spans=join_spans(moments, best, first, last),
            )
        )
    return tuple(shots)


def _persons(names: dict[str, str], found: FoundPersons, source: LimitedSource, axis: _Axis) -> tuple[PersonInfo, ...]:
    measures, uncertain = measure_persons(found.tracked, found.persons)
    step = float(axis.times[-1]) / max(axis.count, 1)
    cuts = np.cumsum([frame.is_cut for frame in found.tracked.detections])
    infos: list[PersonInfo] = []
    for person in found.persons.persons:
        measured = measures[person.number]
        row = measured.best_row()
        _, image = next(iter(source.read([measured.indexes[row]])))
        face = around_face(image, measured.boxes[row])
        indexes = np.array(measured.indexes)
        infos.append(
            PersonInfo(
                id=person.name,
                name=names.get(person.name, ""),
                picture=make_picture(f"person-{person.number}", face, _FACE_SIZE, f"face of {person.name}"),
                visible=float(axis.times[-1]) if source.info.is_photo else len(indexes) * step,
                shots=tuple(int(each) + 1 for each in np.unique(cuts[indexes])),
                face_width=float(np.median(measured.widths)),
                face_share=float(np.median(measured.heights)) / source.info.height,
                largest_yaw=float(np.percentile(measured.yaws, 95)),
                opening=measured.opening_range(),
                openings=measured.opening_distribution(),
                confidence=min(person.confidence.values(), default=1.0),
                uncertain=uncertain[person.number] * step,
            )
        )
    return tuple(infos)


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
