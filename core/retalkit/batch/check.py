"""Validation of all jobs before work starts."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, Final
from unicodedata import normalize

from retalkit._version import __version__
from retalkit.batch.jobs import Job
from retalkit.cues.faults import Faults
from retalkit.cues.sheet_file import read_sheet
from retalkit.cues.validation import check_cues
from retalkit.errors import BatchError, OutputError, RetalkitError
from retalkit.media.sound import SoundSource, open_sound
from retalkit.media.sources import MediaSource, open_source
from retalkit.media.timeline import build_timeline
from retalkit.pipeline.analysis_store import analysed_part
from retalkit.pipeline.keys import analysis_keys, descriptors_key, speech_key, tracklets_key
from retalkit.pipeline.output_plan import OutputPlan, plan_output
from retalkit.pipeline.plan import Plan, device_note, plan
from retalkit.pipeline.time_left import StepHistory, expected_steps
from retalkit.plugins.registry import Registry
from retalkit.storage.cache import content_hash, make_key

VERSION: Final = 1
"""Version that is part of the key of every job. Increase the version if a code change affects the outputs."""
_THREADS: Final = 8
"""Threads that open media files. Most of the time is spent waiting for the storage."""
_ANALYSIS: Final = ("faces", "tracks", "coefficients")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifiedJob:
    """Job with the data that decides whether its output is up to date. No media file is opened for it."""

    job: Job
    key: str
    """Key that changes whenever the output may change, except for the content of the input files."""
    inputs: tuple[Path, ...]
    """Files on whose content the output depends."""
    note: str
    """Note about the configuration, or an empty string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedJob(IdentifiedJob):
    """Valid job with everything that scheduling requires."""

    configuration: Mapping[str, Any]
    """Configuration of the run as JSON-compatible data."""
    frames: int
    """Number of source frames that the job needs to analyse."""
    detections: str
    """Key of the face detection that jobs of one video share."""
    analysis: str
    """Key of the complete analysis that jobs of one video share."""
    speeches: Mapping[str, Path]
    """Mapping from the key of a prepared speech to the audio file."""
    analysis_cost: float
    """Expected time of the analysis in seconds."""
    speech_cost: float
    """Expected time of preparing one speech in seconds."""
    cost: float
    """Expected time of all other steps in seconds."""


def identify_jobs(jobs: Sequence[Job], registry: Registry, faults: Faults) -> list[IdentifiedJob]:
    """Return the jobs whose configuration can run and whose output differs from all other outputs and inputs.

    Faults are added to ``faults``.
    """
    plans = Plans(registry)
    found: list[IdentifiedJob] = []
    for job in jobs:
        try:
            chosen, identities = plans.get(job)
            inputs = _inputs(job)
        except RetalkitError as error:
            faults.add(error)
            continue
        configuration = job.config.model_dump(mode="json")
        fixed = {name: value for name, value in configuration.items() if name not in ("cache_limit_gb", "threads")}
        files = [str(path.absolute()) for path in (job.output, *inputs)]
        key = make_key("job", VERSION, __version__, files, fixed, identities)
        found.append(IdentifiedJob(job=job, key=key, inputs=inputs, note=device_note(chosen)))
    _check_outputs(found, faults)
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
    sounds = _Sounds()

    def check_video(video: Path, numbers: Sequence[int]) -> None:
        source: MediaSource | None = None
        try:
            for number in numbers:
                job = jobs[number].job
                try:
                    opened: MediaSource = source or _named(job, "video", lambda: open_source(video))
                    source = opened
                    found[number] = _check(jobs[number], opened, plans.get(job)[0], sounds, history)
                except RetalkitError as error:
                    found[number] = error
        finally:
            if source is not None:
                source.close()

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="check") as threads:
        list(threads.map(check_video, by_video.keys(), by_video.values()))
    checked: list[CheckedJob] = []
    for number in range(len(jobs)):
        result = found[number]
        if isinstance(result, CheckedJob):
            checked.append(result)
        else:
            faults.add(result)
    return _share_analysis(checked)


def _inputs(job: Job) -> tuple[Path, ...]:
    """Return the files on whose content a job depends. Raises CueError if the cue sheet is invalid."""
    inputs = [job.video]
    if job.cues is not None:
        path = job.cues
        sheet = _named(job, "cues", lambda: read_sheet(path, job.speech))
        inputs += [path, *(cue.speech for cue in sheet.cues)]
        inputs += [one.image for name, one in sheet.persons.items() if one.image is not None and name in sheet.names]
    elif job.speech is not None:
        inputs.append(job.speech)
    sound = job.config.sound
    inputs += [*([sound.mix] if sound.mix else []), *(each.file for each in sound.files)]
    return tuple(dict.fromkeys(inputs))


class Plans:
    """Plan of each configuration, and the identities of its stages."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        # The jobs of a list share configuration objects.
        self._plans: dict[int, tuple[Plan, list[Any]] | RetalkitError] = {}

    def get(self, job: Job) -> tuple[Plan, list[Any]]:
        """Return the plan of a job and the identities of its stages. Raises RetalkitError if the plan cannot run."""
        number = id(job.config)
        if number not in self._plans:
            try:
                chosen = plan(job.config, self._registry)
                self._plans[number] = chosen, [stage.identity() for stage in chosen.stages]
            except RetalkitError as error:
                self._plans[number] = error
        found = self._plans[number]
        if isinstance(found, RetalkitError):
            raise type(found)(f"{job.origin}: {found}", code=found.code) from found
        return found


class _Sounds:
    """Opened audio files, each of which is opened once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[Path, SoundSource | RetalkitError] = {}

    def get(self, path: Path) -> SoundSource:
        with self._lock:
            if path not in self._opened:
                try:
                    self._opened[path] = open_sound(path)
                except RetalkitError as error:
                    self._opened[path] = error
            found = self._opened[path]
        if isinstance(found, RetalkitError):
            raise type(found)(str(found), code=found.code) from found
        return found


def _check(each: IdentifiedJob, source: MediaSource, chosen: Plan, sounds: _Sounds, history: StepHistory) -> CheckedJob:
    job = each.job
    config, photo = job.config, source.info.is_photo
    if job.cues is not None:
        path = job.cues
        sheet = _named(job, "cues", lambda: read_sheet(path, job.speech))
        checked = _named(job, "cues", lambda: check_cues(sheet, None if photo else source.info.duration))
        speeches = {path: sound.duration for path, sound in checked.sounds.items()}
        persons = len({cue.person for cue in checked.sheet.cues})
        timeline = build_timeline(source, checked.last, "speech" if photo else "video")
        limited = analysed_part(source, timeline.until(checked.last), config.analysis_seconds)
    else:
        assert job.speech is not None
        speech = job.speech
        sound = _named(job, "speech", lambda: sounds.get(speech))
        speeches, persons = {speech: sound.duration}, 1
        timeline = build_timeline(source, sound.duration, config.length, config.extend)
        limited = analysed_part(source, timeline, config.analysis_seconds)
    if job.reference is not None:
        reference = job.reference
        _named(job, "reference", lambda: open_source(reference)).close()
    if job.output.is_dir():
        raise OutputError(f"{job.origin}: output: {job.output} is a directory", code="path-is-directory")
    with TemporaryDirectory(prefix="retalkit-check-") as folder:
        # The directory of the output may be missing, because it is created later.
        path = Path(folder) / job.output.name
        planned_output = _named(job, "output", lambda: _plan_output(each, source, path))
    frames = limited.info.frame_count
    steps = expected_steps(
        chosen,
        codec=planned_output.encoding.codec,
        source_frames=frames,
        output_frames=timeline.count,
        speech_seconds=list(speeches.values()),
        size=source.size,
        persons=persons,
    )
    costs = {step.name: history.seconds_per_unit(step) * step.units for step in steps}
    counts = {step.name: step.count for step in steps}
    # Paths stand for contents here, because hashing all files would take too long.
    keys = analysis_keys(chosen, str(_resolve(job.video)), frames=0)
    analysis = keys.coefficients
    if job.cues is not None:
        analysis = descriptors_key(chosen, tracklets_key(keys.detections))
    return CheckedJob(
        job=job,
        key=each.key,
        note=each.note,
        configuration=config.model_dump(mode="json"),
        inputs=each.inputs,
        frames=frames,
        detections=keys.detections,
        analysis=analysis,
        speeches={speech_key(chosen, str(_resolve(path))): path for path in speeches},
        analysis_cost=sum(costs[name] * counts[name] for name in _ANALYSIS),
        speech_cost=costs["speech"],
        cost=sum(seconds * counts[name] for name, seconds in costs.items() if name not in (*_ANALYSIS, "speech")),
    )


def _plan_output(each: IdentifiedJob, source: MediaSource, path: Path) -> OutputPlan:
    job = each.job
    try:
        return plan_output(job.config, source, path, each.inputs, force=True, cued=job.cues is not None)
    except OutputError as error:
        # The user knows the output, but not the temporary path.
        raise OutputError(str(error).replace(str(path), str(job.output)), code=error.code) from error


def _named(job: Job, key: str, call: Callable[[], Any]) -> Any:
    """Return the result of ``call``. A user error is raised again with the source of the job in front."""
    try:
        return call()
    except RetalkitError as error:
        raise type(error)(f"{job.origin}: {key}: {error}", code=error.code) from error


def _check_outputs(checked: Sequence[IdentifiedJob], faults: Faults) -> None:
    """Check that outputs differ from each other and from all inputs, and that their directories can be written."""
    first: dict[str, tuple[Path, Job]] = {}
    inputs = {_resolve(path): each.job for each in checked for path in (*each.inputs, each.job.reference) if path}
    folders: dict[Path, str] = {}
    for each in checked:
        job, resolved = each.job, _resolve(each.job.output)
        if resolved.is_symlink():
            text = f"{job.origin}: output: {job.output}: the symbolic link refers to itself; remove the link"
            faults.add(OutputError(text, code="unwritable-output"))
            continue
        folded = _folded(resolved)
        if folded in first:
            path, other = first[folded]
            where = f"{other.origin} ({other.video.name}{f', {other.language}' if other.language else ''})"
            text = f"{job.origin}: output: {job.output} is also the output of {where}; add a placeholder to the path"
            if path != resolved:
                cause = "differs only in case or Unicode normalisation from the output of"
                text = f"{job.origin}: output: {job.output} {cause} {where}; choose a different name"
            faults.add(BatchError(text, code="duplicate-output"))
            continue
        first[folded] = resolved, job
        if resolved in inputs:
            text = f"{job.origin}: output: {job.output} is also an input of {inputs[resolved].origin}"
            faults.add(OutputError(text, code="output-is-input"))
        folder = job.output.absolute().parent
        if folder not in folders:
            folders[folder] = _folder_fault(folder)
        if folders[folder]:
            text = f"{job.origin}: output: {job.output}: {folders[folder]}; choose a different directory"
            faults.add(OutputError(text, code="unwritable-output"))


def _folded(path: Path) -> str:
    """Return a text that is equal for all paths that are the same file on a file system without case or normalisation.

    Such file systems are the defaults of macOS and Windows, which may also mount the directory.
    """
    text = str(path)
    return text.lower() if text.isascii() else normalize("NFC", normalize("NFC", text).casefold())


def _resolve(path: Path) -> Path:
    """Return a path without symbolic links, or the absolute path if the links form a loop."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def check_folders(jobs: Sequence[IdentifiedJob], results: Path, cache: Path, faults: Faults) -> None:
    """Check that no output and not the results directory is in the cache, from which old entries are removed."""
    folder = _resolve(cache)
    if folder == (place := _resolve(results)) or folder in place.parents:
        text = f"{results}: the directory is in the cache, whose content may be removed; choose a different directory"
        faults.add(OutputError(f"{text} with --results", code="unwritable-output"))
    for each in jobs:
        if folder in _resolve(each.job.output).parents:
            text = f"{each.job.origin}: output: {each.job.output} is in the cache, whose content may be removed"
            faults.add(OutputError(f"{text}; choose a different path", code="unwritable-output"))


def _folder_fault(folder: Path) -> str:
    """Return why files cannot be written to a directory, which may be missing, or an empty string."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is not a directory"
    try:
        with TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"cannot write to {folder}: {error.strerror or error}"


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
