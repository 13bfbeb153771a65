"""Preparation of a run with cues: persons, their speeches and the strength of their edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retalkit.config import RunConfig
from retalkit.cues.model import Cue, CueSheet
from retalkit.cues.validation import CheckedCues
from retalkit.errors import CueError
from retalkit.media.sound_mix import Span
from retalkit.media.sources import MediaSource, open_source
from retalkit.media.timeline import OutputTimeline
from retalkit.pipeline.analysis_store import LimitedSource, StoredAnalysis
from retalkit.pipeline.clip_persons import find_persons
from retalkit.pipeline.cue_sound import replaced_spans, sound_placements
from retalkit.pipeline.edit_strength import EditStrength, find_absences
from retalkit.pipeline.keys import (
    JobKeys,
    RunKeys,
    analysis_keys,
    cue_run_keys,
    job_keys,
    person_keys,
    speech_key,
)
from retalkit.pipeline.output_sound import PlacedSpeech
from retalkit.pipeline.person_selection import PersonSelection, SelectedPerson
from retalkit.pipeline.steps import ClipSteps
from retalkit.speech.speech_track import SpeechPiece, SpeechTrack
from retalkit.stages import FaceImage
from retalkit.storage.cache import content_hash

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInput:
    """Everything that a face job requires."""

    name: str
    keys: JobKeys
    analysis: StoredAnalysis
    speech: SpeechTrack
    strength: EditStrength | None = None
    unknown: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRun:
    """Face jobs of a run with their cache keys, and the entries for the run record."""

    jobs: Sequence[JobInput]
    keys: RunKeys
    speeches: Sequence[PlacedSpeech]
    """Speeches at their places in the output's sound."""
    replaced: Sequence[Span] | None = None
    """Time ranges in seconds in which the original sound is replaced, or None for the extent of each speech."""
    persons: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    notes: Sequence[str] = ()


def check_options(config: RunConfig) -> None:
    """Raise CueError if an option is set that has no effect in a run with cues.

    The output of a run with cues has the duration of the video, so that ``length: video`` describes what happens.
    """
    if config.face != "largest":
        raise CueError(
            f"face: {config.face} has no effect with cues; remove the key, and select the person of the cues, such as "
            f"`person: {config.face}`",
            code="unused-option",
        )
    if config.extend != "pingpong":
        raise CueError(
            f"extend: {config.extend} has no effect with cues, because the output has the duration of the video; "
            "remove the key",
            code="unused-option",
        )


def prepare_cues(
    steps: ClipSteps,
    source: MediaSource,
    limited: LimitedSource,
    checked: CheckedCues,
    timeline: OutputTimeline,
    video: Path,
) -> PreparedRun:
    """Detect and recognise all persons, and prepare the speech and the analysis of each person that has cues.

    The speeches are processed concurrently in a thread. Raises CueError if a person is not found.
    """
    stopped = Event()

    def cancelled() -> bool:
        return stopped.is_set() or steps.cancellation.is_set()

    hashes = {path: content_hash(path) for path in checked.sounds}
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="speech") as executor:
        prepared = executor.submit(_speeches, steps, checked, hashes, cancelled)
        try:
            return _prepare(steps, source, limited, checked, timeline, content_hash(video), prepared.result)
        finally:
            stopped.set()


def _prepare(
    steps: ClipSteps,
    source: MediaSource,
    limited: LimitedSource,
    checked: CheckedCues,
    timeline: OutputTimeline,
    video: str,
    speeches: Callable[[], dict[Path, tuple[SpeechTrack, str]]],
) -> PreparedRun:
    plan, sheet = steps.plan, checked.sheet
    images = _describe_images(steps, sheet)
    found = find_persons(steps, limited, video, always_describe=bool(images))
    keys, tracked, others = found.keys, found.tracked, found.others
    persons, descriptors, distance = found.persons, found.descriptors, found.distance
    tracked_key = others[0]
    selection = PersonSelection(
        persons,
        tracked.table(),
        limited.times(0, limited.info.frame_count),
        limited.info.width,
        images,
        descriptors,
        distance,
        is_photo=limited.info.is_photo,
    )
    selected = selection.select(sheet)
    heard = speeches()
    frame = timeline.duration / timeline.count
    cuts = frozenset(each.index for each in tracked.detections if each.is_cut)
    jobs: list[JobInput] = []
    entries: list[dict[str, Any]] = []
    for chosen in selected:
        cues = sheet.of_person(chosen.name)
        ranges = [(cue.start, cue.stop or timeline.duration) for cue in cues]
        if sheet.listeners == "rest":
            ranges = [(checked.first, checked.last)]
        numbers = frozenset(chosen.person.tracklets)
        own = person_keys(plan, keys.detections, tracked_key, sorted(numbers))
        analysis = steps.person(limited, tracked, numbers, own)
        absences = find_absences(analysis, timeline.until(checked.last), cuts)
        strength = EditStrength(ranges, timeline.duration, frame, absences)
        job = job_keys(
            plan,
            own,
            tuple(dict.fromkeys(heard[cue.speech][1] for cue in cues)),
            timeline,
            [strength.identity(), [[heard[cue.speech][1], cue.start, cue.stop, cue.offset] for cue in cues]],
        )
        jobs.append(
            JobInput(
                name=chosen.name,
                keys=job,
                analysis=analysis,
                speech=_speech(cues, heard, strength.stop),
                strength=strength,
                unknown=chosen.unknown,
            )
        )
        entries.append(
            {
                "person": chosen.name,
                "selector": str(chosen.selector),
                "id": chosen.person.name,
                "tracks": list(chosen.person.tracklets),
                "confidence": min(chosen.person.confidence.values()),
                "recogniser": "" if plan.recogniser is None else plan.recogniser.found.spec.name,
            }
        )
    return PreparedRun(
        jobs=jobs,
        keys=cue_run_keys(
            plan, tuple(job.keys for job in jobs), video=video, others=others, is_photo=source.info.is_photo
        ),
        speeches=sound_placements(checked, {path: speech for path, (speech, _) in heard.items()}),
        replaced=replaced_spans(checked),
        persons=entries,
        notes=_notes(selected, checked, limited.times(0, limited.info.frame_count), steps),
    )


def _speeches(
    steps: ClipSteps, checked: CheckedCues, hashes: dict[Path, str], cancelled: Callable[[], bool]
) -> dict[Path, tuple[SpeechTrack, str]]:
    """Return each speech file's speech and cache key."""
    found: dict[Path, tuple[SpeechTrack, str]] = {}
    for path, sound in checked.sounds.items():
        key = speech_key(steps.plan, hashes[path])
        found[path] = (steps.speech(sound, key, cancelled), key)
    return found


def _speech(cues: Sequence[Cue], heard: dict[Path, tuple[SpeechTrack, str]], duration: float) -> SpeechTrack:
    """Return the speech of one person over the whole output."""
    pieces = [
        SpeechPiece(heard[cue.speech][0], cue.start, duration if cue.stop is None else cue.stop, cue.offset)
        for cue in cues
    ]
    return SpeechTrack.assemble(pieces, duration)


def _describe_images(steps: ClipSteps, sheet: CueSheet) -> dict[str, Float]:
    """Return the descriptor of each reference image. Raises CueError if an image shows no face, or several."""
    found: dict[str, Float] = {}
    for name in sheet.names:
        image = sheet.persons[name].image
        if image is None or str(image) in found:
            continue
        picture = open_source(image)
        limited = LimitedSource(picture, 1)
        stored = steps.detect(limited, analysis_keys(steps.plan, content_hash(image), 1))
        faces = [face for frame in stored for face in frame.faces]
        values = None
        if len(faces) == 1:
            _, pixels = next(iter(limited.read([0])))
            values = steps.recogniser().describe(
                FaceImage(image=pixels, landmarks=faces[0].landmarks, landmark_scheme=stored.scheme)
            )
        if values is None:
            reason = "shows no usable face" if len(faces) <= 1 else f"shows {len(faces)} faces"
            origin = next((cue.origin for cue in sheet.cues if cue.person == name and cue.origin), "")
            raise CueError(
                f"{f'{origin}: ' if origin else ''}person '{name}': {image} {reason}; use an image of one frontal face",
                code="unusable-image",
            )
        found[str(image)] = values
    return found


def _notes(
    selected: Sequence[SelectedPerson], checked: CheckedCues, times: NDArray[np.float64], steps: ClipSteps
) -> list[str]:
    notes: list[str] = []
    for chosen in selected:
        cues = checked.sheet.of_person(chosen.name)
        count = sum(
            any(cue.start <= times[frame] < (cue.stop or np.inf) for cue in cues) for frame in sorted(chosen.unknown)
        )
        if not count:
            continue
        planned = steps.plan.recogniser
        weak = planned is not None and planned.found.spec.name == "appearance"
        hint = "; retalkit[identity] recognises faces more reliably" if weak else ""
        notes.append(
            f"'{chosen.name}' may be visible in {count} frames of its cues without being recognised; these frames are "
            f"unchanged{hint}"
        )
    return notes
