"""Validation of all jobs before work starts."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

from retalkit._version import __version__
from retalkit.batch.checked_jobs import CheckedJob, IdentifiedJob
from retalkit.batch.jobs import Job
from retalkit.batch.memo import Memo
from retalkit.batch.output_checks import check_outputs, resolve
from retalkit.config import RunConfig
from retalkit.cues.faults import Faults
from retalkit.cues.sheet_file import read_sheet
from retalkit.cues.validation import check_cues
from retalkit.errors import OutputError, RetalkitError
from retalkit.media.codec_names import Codec
from retalkit.media.sound import SoundSource, open_sound
from retalkit.media.sources import MediaSource, open_source
from retalkit.media.timeline import build_timeline
from retalkit.paths import check_name_length
from retalkit.pipeline.analysis_store import analysed_part
from retalkit.pipeline.devices import device_note
from retalkit.pipeline.keys import analysis_keys, descriptors_key, speech_key, tracklets_key
from retalkit.pipeline.output_plan import plan_output
from retalkit.pipeline.plan import Plan, plan
from retalkit.pipeline.time_left import StepHistory, expected_steps
from retalkit.plugins.registry import Registry
from retalkit.storage.cache import content_hash, make_key

VERSION: Final = 1
"""Version that is part of the key of every job. Increase the version if a code change affects the outputs."""
_THREADS: Final = 8
"""Threads that open media files. Most of the time is spent waiting for the storage."""
_ANALYSIS: Final = ("faces", "tracks", "coefficients")
_SHORT_NAME: Final = 64
"""Length in bytes of file names that all common file systems can store."""
Result = TypeVar("Result")


def identify_jobs(jobs: Sequence[Job], registry: Registry, faults: Faults) -> list[IdentifiedJob]:
    """Return the jobs whose configuration can run and whose output differs from all other outputs and inputs.

    Faults are added to ``faults``.
    """
    plans = Plans(registry)
    sheets: Memo[Hashable, list[Path]] = Memo()
    found: list[IdentifiedJob] = []
    for job in jobs:
        try:
            planned = plans.get(job)
            inputs = _inputs(job, sheets)
            _named(job, "output", partial(check_name_length, job.output))
        except RetalkitError as error:
            faults.add(error)
            continue
        names = ("cache_limit_gb", "threads")
        fixed = {name: value for name, value in planned.configuration.items() if name not in names}
        files = [str(path.absolute()) for path in (job.output, *inputs)]
        key = make_key("job", VERSION, __version__, files, fixed, planned.identities)
        found.append(
            IdentifiedJob(job=job, key=key, inputs=inputs, note=device_note(planned.plan.config, planned.plan.stages))
        )
    check_outputs(found, faults)
    return found


def check_jobs(
    jobs: Sequence[IdentifiedJob], registry: Registry, history: StepHistory, faults: Faults
) -> list[CheckedJob]:
    """Open all files of the jobs and return the valid jobs in the given order. Faults are added to ``faults``.

    Existing output files are checked elsewhere, because outputs of an earlier call of the same batch are allowed.
    """
    plans = Plans(registry)
    by_video: defaultdict[Path, list[int]] = defaultdict(list)
    for number, each in enumerate(jobs):
        by_video[each.job.video].append(number)
        plans.get(each.job)
    found: dict[int, CheckedJob | RetalkitError] = {}
    files = _SharedFiles()
    with (
        TemporaryDirectory(prefix="retalkit-check-") as folder,
        ThreadPoolExecutor(_THREADS, thread_name_prefix="check") as threads,
    ):

        def check_video(video: Path, numbers: Sequence[int]) -> None:
            checks = _VideoChecks(video, files, history, Path(folder))
            try:
                for number in numbers:
                    try:
                        found[number] = checks.check(jobs[number], plans.get(jobs[number].job))
                    except RetalkitError as error:
                        found[number] = error
            finally:
                checks.close()

        list(threads.map(check_video, by_video.keys(), by_video.values()))
    checked: list[CheckedJob] = []
    for number in range(len(jobs)):
        result = found[number]
        if isinstance(result, CheckedJob):
            checked.append(result)
        else:
            faults.add(result)
    return _share_analysis(checked)


def _inputs(job: Job, sheets: Memo[Hashable, list[Path]]) -> tuple[Path, ...]:
    """Return the files on whose content a job depends. ``sheets``: files of the cue sheets.

    Raises CueError if the cue sheet is invalid.
    """
    inputs = [job.video]
    if job.cues is not None:
        path = job.cues
        inputs += _named(job, "cues", lambda: sheets.get((path, job.speech), lambda: _sheet_files(path, job.speech)))
    elif job.speech is not None:
        inputs.append(job.speech)
    sound = job.config.sound
    inputs += [*([sound.mix] if sound.mix else []), *(each.file for each in sound.files)]
    return tuple(dict.fromkeys(inputs))


def _sheet_files(path: Path, speech: Path | None) -> list[Path]:
    sheet = read_sheet(path, speech)
    images = [one.image for name, one in sheet.persons.items() if one.image is not None and name in sheet.names]
    return [path, *(cue.speech for cue in sheet.cues), *images]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedConfig:
    """Configuration of jobs with its plan."""

    plan: Plan
    identities: list[Any]
    """Identities of the stages."""
    configuration: Mapping[str, Any]
    """The configuration as JSON-compatible data."""
    output_key: str
    """String that is equal for configurations with the same options of the output."""


class Plans:
    """Plan of each configuration."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._plans: Memo[int, PlannedConfig] = Memo()

    def get(self, job: Job) -> PlannedConfig:
        """Return the configuration of a job with its plan. Raises RetalkitError if the plan cannot run."""
        # The jobs of a list share configuration objects.
        try:
            return self._plans.get(id(job.config), lambda: self._plan(job.config))
        except RetalkitError as error:
            raise type(error)(f"{job.origin}: {error}", code=error.code) from error

    def _plan(self, config: RunConfig) -> PlannedConfig:
        chosen = plan(config, self._registry)
        return PlannedConfig(
            plan=chosen,
            identities=[stage.identity() for stage in chosen.stages],
            configuration=config.model_dump(mode="json"),
            output_key=config.output.model_dump_json() + config.sound.model_dump_json(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Speech:
    """Facts about the speech or the cues of a job."""

    seconds: Mapping[Path, float]
    """Duration of each audio file in seconds."""
    persons: int
    end: float
    """Duration of the speech, or stop time of the last cue, in seconds."""


class _SharedFiles:
    """Files that jobs of several videos use. Each file is opened once."""

    def __init__(self) -> None:
        self.sounds: Memo[Path, SoundSource] = Memo()
        self.references: Memo[Path, None] = Memo()


class _VideoChecks:
    """Checks of the jobs of one video.

    A list can contain thousands of jobs of one video. Therefore, results that depend only on the video, the speech and
    the configuration are computed once.
    """

    def __init__(self, video: Path, files: _SharedFiles, history: StepHistory, folder: Path) -> None:
        """``folder``: empty directory for the checks of output paths, whose own directories may be missing."""
        self._video = video
        self._files = files
        self._history = history
        self._folder = folder
        self._opened: MediaSource | None = None
        self._sources: Memo[Path, MediaSource] = Memo()
        self._speeches: Memo[Hashable, _Speech] = Memo()
        self._frames: Memo[Hashable, tuple[int, int]] = Memo()
        self._codecs: Memo[Hashable, Codec] = Memo()
        self._checked: Memo[Hashable, CheckedJob] = Memo()

    def close(self) -> None:
        """Close the video."""
        if self._opened is not None:
            self._opened.close()

    def check(self, each: IdentifiedJob, planned: PlannedConfig) -> CheckedJob:
        """Return the checked job. Raises RetalkitError with the first fault of the job."""
        job, config = each.job, each.job.config
        spoken = job.cues, job.speech
        _named(job, "video", self._source)
        key = "speech" if job.cues is None else "cues"
        speech = _named(job, key, lambda: self._speeches.get(spoken, lambda: self._speech(job)))
        shown = *spoken, config.length, config.extend, config.analysis_seconds
        frames = self._frames.get(shown, lambda: self._count_frames(job, speech))
        if job.reference is not None:
            reference = job.reference
            _named(
                job, "reference", lambda: self._files.references.get(reference, lambda: open_source(reference).close())
            )
        if job.output.is_dir():
            raise OutputError(f"{job.origin}: output: {job.output} is a directory", code="path-is-directory")
        codec: Codec = _named(job, "output", lambda: self._codec(each, planned))
        common = id(config), *spoken, codec
        checked = self._checked.get(common, lambda: self._checked_job(each, planned, speech, frames, codec))
        return replace(checked, job=job, key=each.key, inputs=each.inputs, note=each.note)

    def _source(self) -> MediaSource:
        self._opened = self._sources.get(self._video, lambda: open_source(self._video))
        return self._opened

    def _speech(self, job: Job) -> _Speech:
        """Return the facts about the speech or the cues of a job. Raises RetalkitError if a file cannot be used."""
        if job.cues is not None:
            info = self._source().info
            checked = check_cues(read_sheet(job.cues, job.speech), None if info.is_photo else info.duration)
            seconds = {path: sound.duration for path, sound in checked.sounds.items()}
            return _Speech(seconds=seconds, persons=len({cue.person for cue in checked.sheet.cues}), end=checked.last)
        assert job.speech is not None
        speech = job.speech
        duration = self._files.sounds.get(speech, lambda: open_sound(speech)).duration
        return _Speech(seconds={speech: duration}, persons=1, end=duration)

    def _count_frames(self, job: Job, speech: _Speech) -> tuple[int, int]:
        """Return the number of source frames to analyse and of output frames. Raises InputError for empty audio."""
        source, config = self._source(), job.config
        if job.cues is None:
            shown = timeline = build_timeline(source, speech.end, config.length, config.extend)
        else:
            timeline = build_timeline(source, speech.end, "speech" if source.info.is_photo else "video")
            shown = timeline.until(speech.end)
        return analysed_part(source, shown, config.analysis_seconds).info.frame_count, timeline.count

    def _codec(self, each: IdentifiedJob, planned: PlannedConfig) -> Codec:
        """Return the video codec of the output. Raises RetalkitError if the output cannot be written."""
        job = each.job
        # Only the name of an output can be too long, and only the suffix determines what the output can contain.
        name = job.output.name
        if len(os.fsencode(name)) <= _SHORT_NAME:
            name = f"output{job.output.suffix}"
        path, cued = self._folder / name, job.cues is not None

        def chosen() -> Codec:
            return plan_output(job.config, self._source(), path, each.inputs, force=True, cued=cued).encoding.codec

        try:
            return self._codecs.get((planned.output_key, name, cued), chosen)
        except OutputError as error:
            # The user knows the output, but not the temporary path.
            raise OutputError(str(error).replace(str(path), str(job.output)), code=error.code) from error

    def _checked_job(
        self, each: IdentifiedJob, planned: PlannedConfig, speech: _Speech, frames: tuple[int, int], codec: Codec
    ) -> CheckedJob:
        job, chosen = each.job, planned.plan
        steps = expected_steps(
            chosen,
            codec=codec,
            source_frames=frames[0],
            output_frames=frames[1],
            speech_seconds=list(speech.seconds.values()),
            size=self._source().size,
            persons=speech.persons,
        )
        costs = {step.name: self._history.seconds_per_unit(step) * step.units for step in steps}
        counts = {step.name: step.count for step in steps}
        # Paths stand for contents here, because hashing all files would take too long.
        keys = analysis_keys(chosen, str(resolve(job.video)), frames=0)
        analysis = keys.coefficients
        if job.cues is not None:
            analysis = descriptors_key(chosen, tracklets_key(keys.detections))
        return CheckedJob(
            job=job,
            key=each.key,
            note=each.note,
            configuration=planned.configuration,
            inputs=each.inputs,
            frames=frames[0],
            detections=keys.detections,
            analysis=analysis,
            speeches={speech_key(chosen, str(resolve(path))): path for path in speech.seconds},
            analysis_cost=sum(costs[name] * counts[name] for name in _ANALYSIS),
            speech_cost=costs["speech"],
            cost=sum(seconds * counts[name] for name, seconds in costs.items() if name not in (*_ANALYSIS, "speech")),
        )


def _named(job: Job, key: str, call: Callable[[], Result]) -> Result:
    """Return the result of ``call``. A user error is raised again with the source of the job in front."""
    try:
        return call()
    except RetalkitError as error:
        raise type(error)(f"{job.origin}: {key}: {error}", code=error.code) from error


def _share_analysis(checked: list[CheckedJob]) -> list[CheckedJob]:
    """Make jobs that share detections analyse the same part of a long video, which is the longest part of all."""
    longest: dict[str, int] = {}
    for each in checked:
        longest[each.detections] = max(longest.get(each.detections, 0), each.frames)
    seconds: dict[tuple[Path, int], float] = {}
    shared: list[CheckedJob] = []
    for each in checked:
        frames = longest[each.detections]
        if each.frames < frames:
            video = each.job.video
            if (video, frames) not in seconds:
                source = open_source(video)
                times = source.times(0, frames)
                seconds[video, frames] = float(times[-1] - times[0]) + 1e-6
                source.close()
            changed = {**each.configuration, "analysis_seconds": seconds[video, frames]}
            each = replace(each, configuration=changed, frames=frames)
        shared.append(each)
    return shared


def fingerprint(path: Path) -> list[int]:
    """Return a file's size in bytes and modification time in nanoseconds, or an empty list if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def is_unchanged(path: Path, known: Mapping[str, Any]) -> bool:
    """Return whether a file has the recorded content.

    ``known``: ``stat`` (see ``fingerprint``) and ``sha256``. The content is read only if the fingerprint differs.
    """
    found = fingerprint(path)
    if not found:
        return False
    return found == known.get("stat") or (bool(known.get("sha256")) and content_hash(path) == known["sha256"])
