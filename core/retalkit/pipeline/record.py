"""Run record, a JSON file that contains the configuration, results and computational cost of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from retalkit._version import __version__
from retalkit.errors import OutputError
from retalkit.observer import Observer, report_detail, report_time_left
from retalkit.paths import check_encoding, check_name_length, is_any_of, link_target, partial_path
from retalkit.pipeline.keys import RunKeys
from retalkit.pipeline.plan import Plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.pipeline.timing import StepTimer, Stopwatch, peak_memory_bytes, stored_cost
from retalkit.plugins.fingerprint import library_version

_RECORDED_LIBRARIES: Final = ("av", "mediapipe", "numpy", "opencv-contrib-python", "openvino", "scipy", "torch")
_OPENED: Final = {"expression_editor": "references", "lip_syncer": "lips"}
"""Mapping from stage to the step in which the stage's session is opened."""


@dataclass(slots=True)
class RunRecord:
    """Record of a run, stored next to the output file."""

    output: Path
    record: Path
    """Path of this record, which is the output's file name with ``.json`` appended."""
    frames_edited: int = 0
    frames_passed: dict[str, int] = field(default_factory=dict[str, int])
    """Number of unchanged frames for each reason."""
    frames_faded: dict[str, int] = field(default_factory=dict[str, int])
    """Number of frames edited with a confidence below 1, for each reason."""
    edits: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Edited time ranges of each person: ``person`` (the person of the cues, or the face in the configuration) and
    ``ranges``, which contains the start and end of each range in seconds of the output."""
    unedited: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Time ranges inside the cues in which a person was not edited: ``person``, ``reason`` and ``ranges``."""
    digital_source_type: str = ""
    """Origin of the edited pixels, see ``retalkit.stages.DigitalSourceType``."""
    finishers: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Mapping from finisher to the data that the finisher recorded, such as the signer's name."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    """Mapping from step to wall-clock time in seconds. Steps overlap, so their sum can exceed ``wall_seconds``."""
    cached_steps: list[str] = field(default_factory=list[str])
    cost: dict[str, float] = field(default_factory=dict[str, float])
    """Mapping from step to computation time in seconds. For a cached step, the time was measured when the step was
    computed."""
    stage_cost: dict[str, float] = field(default_factory=dict[str, float])
    """Mapping from a pixel-generating stage's configuration path (such as ``enhancers.0``) to computation time in
    seconds.

    The ``cost`` of ``references``, ``lips`` and ``render`` includes these times.
    """
    processes: int = 1
    """Number of processes that worked on the run, including the run's own process."""
    wall_seconds: float = 0.0
    output_seconds: float = 0.0
    realtime_factor: float = 0.0
    """Output duration divided by wall-clock time."""
    peak_memory_bytes: int = 0
    """Peak resident memory of the run's process in bytes."""
    peak_memory_cost: int = 0
    """Peak resident memory in bytes of a run without cached steps, or 0 if the peak is unknown.

    For a cached step, the peak memory was measured when the step was computed.
    """
    notes: list[str] = field(default_factory=list[str])
    artefacts: dict[str, Path] = field(default_factory=dict[str, Path])
    inputs: dict[str, str] = field(default_factory=dict[str, str])
    """Mapping from input name (``video`` or ``speech``) to the input's path and the SHA-256 hash of its content."""
    cues: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Cues of the run: ``person``, ``from``, ``to``, ``speech``, ``offset`` and ``gain``. The list is empty for a run
    without cues."""
    persons: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Edited persons: name, selector, id and confidence of the recognition, and the number of edited frames."""
    preview: dict[str, Any] = field(default_factory=dict[str, Any])
    """For a preview, the part of the output that was rendered: ``from`` and ``to`` in seconds of the whole output, and
    ``size``, the width and height in pixels. Empty for a complete run."""
    configuration: dict[str, Any] = field(default_factory=dict[str, Any])
    versions: dict[str, str] = field(default_factory=dict[str, str])
    """Mapping from package to version for Retalkit, the plugins in use, and the libraries that affect the result."""
    weights: dict[str, str] = field(default_factory=dict[str, str])
    """Mapping from stage and file name to SHA-256 hash, for each weight or motion file that a stage used."""
    weight_bytes: dict[str, int] = field(default_factory=dict[str, int])
    """Mapping from stage and file name to size in bytes, for each file in ``weights``."""
    seed: int = 0

    def save(self) -> None:
        """Write the record atomically."""
        data = asdict(self)
        temporary = partial_path(self.record)
        try:
            temporary.write_text(json.dumps(data, indent=2, default=str, ensure_ascii=False) + "\n", encoding="utf-8")
            temporary.replace(link_target(self.record))
        finally:
            temporary.unlink(missing_ok=True)


def record_path(output: Path) -> Path:
    """Return the path of the run record of an output."""
    # The path "." has an empty name.
    return output.parent / f"{output.name}.json"


def check_record(output: Path, *, force: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Check that the run record of an output can be written. The record of an earlier run is replaced.

    Raises OutputError if the file name is too long, or if the file exists and is an input file (regardless of
    ``force``), or not a run record and ``force`` is False.
    """
    path = record_path(output)
    check_encoding(path, OutputError)
    check_name_length(output, len(path.name) - len(output.name))
    target = link_target(path)
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_file():
        raise OutputError(
            f"{path}: the run record cannot be written because the path is not a file; choose another output path",
            code="path-is-directory",
        )
    if is_any_of(target, inputs):
        raise OutputError(
            f"{path}: the run record would replace an input file; choose another output path", code="output-is-input"
        )
    if not force and not _is_record(target):
        raise OutputError(
            f"{path}: the file is not a run record of Retalkit; use --force to replace the file, or choose another "
            "output path",
            code="output-exists",
        )


def _is_record(path: Path) -> bool:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and {"output", "record", "configuration", "versions"} <= data.keys()


class RecordingObserver:
    """Observer that forwards all events to another observer and stores notes and artefacts in the record."""

    def __init__(self, outer: Observer, record: RunRecord) -> None:
        self._outer = outer
        self._record = record

    def started(self, step: str, total: int | None) -> None:
        self._outer.started(step, total)

    def advanced(self, step: str, done: int) -> None:
        self._outer.advanced(step, done)

    def finished(self, step: str, seconds: float, cached: bool) -> None:
        self._outer.finished(step, seconds, cached)

    def note(self, text: str) -> None:
        if text not in self._record.notes:
            self._record.notes.append(text)
            self._outer.note(text)

    def artefact(self, name: str, path: Path) -> None:
        self._record.artefacts[name] = path
        self._outer.artefact(name, path)

    def time_left(self, seconds: float, fraction: float) -> None:
        report_time_left(self._outer, seconds, fraction)

    def detail(self, text: str) -> None:
        report_detail(self._outer, text)


def record_cost(
    record: RunRecord,
    plan: Plan,
    keys: RunKeys,
    steps: ClipSteps,
    watches: Sequence[Stopwatch],
    rendered: int,
    total: int,
) -> None:
    """Record the cost of each stage and of rendering, including the measurements of earlier runs.

    ``watches`` contain this run's time in seconds per stage of each face job, for ``rendered`` of ``total`` output
    frames.
    """
    cost = steps.timer.cost
    saved = 0.0
    opened = set[str]()
    for job, watch in zip(keys.jobs, watches, strict=True):
        stages = {"expression_editor": job.references, "lip_syncer": job.lips}
        stages |= {stage.config_path: key for stage, key in zip(plan.enhancers, job.enhancers, strict=True)}
        for path, key in stages.items():
            known = stored_cost(steps.cache.entry(key), "frames", watch.seconds[path], rendered, total)
            if known is not None:
                # If a stage's frames were cached, the measured time is much smaller than the stored cost. A small
                # decrease only indicates a lower machine load.
                now = watch.seconds[path] * total / max(rendered, 1)
                saved += known - now if rendered and now < known / 2 else 0.0
                start = 0.0 if path in opened else cost.get(_OPENED.get(path, ""), 0.0)
                record.stage_cost[path] = round(record.stage_cost.get(path, 0.0) + known + start, 4)
                opened.add(path)
    seconds = steps.timer.seconds["render"] + saved * rendered / total
    known = stored_cost(steps.cache.entry(keys.pixels), "render", seconds, rendered, total)
    cost.pop("render", None)
    if known is not None:
        cost["render"] = round(known, 4)


def complete_record(
    record: RunRecord, plan: Plan, timer: StepTimer, output_seconds: float, wall_seconds: float
) -> None:
    """Add the configuration, versions, hashes and timings to the record."""
    record.seconds, record.cached_steps, record.cost = dict(timer.seconds), list(timer.cached_steps), dict(timer.cost)
    record.wall_seconds = round(wall_seconds, 3)
    record.output_seconds = round(output_seconds, 6)
    record.realtime_factor = round(record.output_seconds / max(record.wall_seconds, 1e-9), 3)
    record.peak_memory_bytes = peak_memory_bytes()
    # Ignoring a step with unknown peak memory would underestimate the run's memory requirement.
    known = [peak for peak in timer.peaks.values() if peak is not None]
    record.peak_memory_cost = max([record.peak_memory_bytes, *known]) if len(known) == len(timer.peaks) else 0
    record.digital_source_type = plan.digital_source_type.value
    record.configuration = json.loads(plan.config.model_dump_json())
    hashes = {stage.config_path: stage.file_hashes() for stage in plan.stages}
    record.weights = {f"{path}.{name}": digest for path, files in hashes.items() for name, digest in files.items()}
    record.weight_bytes = {
        f"{stage.config_path}.{name}": path.stat().st_size
        for stage in plan.stages
        for name, path in stage.files().items()
    }
    record.versions = {"retalkit": __version__, "python": sys.version.split()[0], **plan.package_versions()}
    installed = {library: library_version(library) for library in _RECORDED_LIBRARIES}
    record.versions |= {library: version for library, version in installed.items() if version is not None}
