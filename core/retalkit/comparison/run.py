"""Implementation of ``retalkit compare``, which computes missing videos and scores and collects all results."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from retalkit._version import __version__
from retalkit.batch.engine import WORKER_DIED, NodeEvents, run_nodes
from retalkit.batch.executor import Executor, TaskResult
from retalkit.batch.executor import Task as WorkerTask
from retalkit.batch.local import LocalExecutor
from retalkit.batch.schedule import Node
from retalkit.comparison.arm_audio import ArmAudio
from retalkit.comparison.cell_store import CellStore
from retalkit.comparison.report import REPORT_FILE
from retalkit.comparison.report.previews import Box
from retalkit.comparison.results import CellResult, MetricInfo, Results, VariantInfo
from retalkit.comparison.spec import Comparison, Variant, read_comparison
from retalkit.comparison.tasks import (
    CellPlan,
    Task,
    build_tasks,
    check_readable,
    plan_variants,
    skip_reason,
    task_payload,
)
from retalkit.config.model import effective
from retalkit.errors import InputError, OutputError
from retalkit.metrics.open_scene import SceneOpener, measurement_key
from retalkit.metrics.scoring import missing_inputs
from retalkit.observer import Observer, SilentObserver
from retalkit.pipeline.plan import Plan
from retalkit.plugins.availability import metric_availability
from retalkit.plugins.registry import FoundMetric, Registry
from retalkit.storage.cache import Cache, CacheEntry, Folder, default_folder

_MARKER = "comparison.json"
_TASK = "retalkit.comparison.worker:run"
_LIBRARIES = ("av", "mediapipe", "numpy", "opencv-contrib-python", "scikit-image", "scipy", "torch")


@dataclass(slots=True)
class Outcome:
    """Outcome of one call to ``compare``."""

    results: Results
    folder: Path
    computed: int = 0
    """Number of tasks computed in this call."""
    failed: list[str] = field(default_factory=list[str])
    """Label and error message of every failed cell, including cells that failed in earlier calls."""
    faces: dict[str, Box] = field(default_factory=dict[str, Box])
    """Mapping from clip to the area that contains the face in all frames (left, top, right and bottom in pixels).

    The mapping omits clips without a face.
    """


def compare(
    path: Path,
    out: Path,
    registry: Registry,
    observer: Observer,
    *,
    jobs: int = 1,
    plugins: Sequence[Path] = (),
    cache: Path | None = None,
    force: bool = False,
    retry: bool = False,
) -> Outcome:
    """Compute all missing videos and scores in the output directory ``out`` and return all results.

    If ``retry`` is set, failed cells are computed again. If ``force`` is set, the report of a different comparison in
    ``out`` may be replaced. Cells with matching keys are reused. Raises ConfigError, PlanError, InputError or
    OutputError before any computation.
    """
    comparison = read_comparison(path, registry)
    plans = plan_variants(comparison, registry)
    _check_folder(out, comparison, force)
    check_readable(comparison)
    cache_folder = cache if cache is not None else default_folder()
    Cache(cache_folder)
    store = CellStore(out, measurement_key(registry))
    # The marker file is written first, so that an interrupted comparison recognizes its output directory.
    _write_marker(out, comparison)
    sounds = ArmAudio(CacheEntry(out / "sounds"), comparison.file.noise, comparison.file.seconds)
    tasks = build_tasks(comparison, plans, sounds)
    found = _metrics(comparison, registry)
    available = [each for each in found if metric_availability(each) is None]
    if retry:
        for task in tasks:
            for cell in task.cells:
                store.forget_failure(cell.key)
    pending = [task for task in tasks if not _is_done(task, available, store)]
    outcome = Outcome(_empty_results(comparison, plans, found, registry, jobs), out)
    _run(pending, tasks, store, available, cache_folder, plugins, jobs, observer, outcome)
    outcome.results.cells = [_cell_result(task, cell, found, store) for task in tasks for cell in task.cells]
    outcome.faces = _faces(comparison, registry, Cache(cache_folder))
    outcome.failed = [f"{c.name.label}: {c.failure}" for c in outcome.results.cells if c.state == "failed"]
    return outcome


def _run(
    pending: list[Task],
    tasks: list[Task],
    store: CellStore,
    metrics: list[FoundMetric],
    cache: Path,
    plugins: Sequence[Path],
    jobs: int,
    observer: Observer,
    outcome: Outcome,
) -> None:
    began = time.monotonic()
    observer.started("videos", len(tasks))
    observer.advanced("videos", len(tasks) - len(pending))
    names = [each.spec.name for each in metrics]

    def worker_task(task: Task) -> WorkerTask:
        payload = task_payload(task, store.folder, cache, list(plugins), names, store.measured_by)
        return WorkerTask(function=_TASK, payload=payload, log=store.log(task.key), label=task.label)

    events = _TaskEvents(pending, len(tasks) - len(pending), store, metrics, observer, outcome)
    # A new process for every task measures the peak memory of that task alone.
    with LocalExecutor(jobs, fresh=True) as executor:
        run_tasks(pending, worker_task, executor, events)
    observer.finished("videos", time.monotonic() - began, not pending)


def run_tasks(
    tasks: Sequence[Task], worker_task: Callable[[Task], WorkerTask], executor: Executor, events: NodeEvents
) -> None:
    """Run every task. The first task of a clip runs before the clip's other tasks, so that shared steps are computed
    only once."""
    first: dict[str, str] = {}
    for task in tasks:
        if not task.rerun:
            first.setdefault(task.clip_name, task.key)
    nodes = [
        Node(
            key=task.key,
            task=partial(worker_task, task),
            after=[known] if (known := first.get(task.clip_name, task.key)) != task.key else [],
            group=task.clip_name,
        )
        for task in tasks
    ]
    run_nodes(nodes, executor, events, attempts=1, independent=True)


class _TaskEvents:
    """Receiver of the events of tasks, which stores failures and reports the progress."""

    def __init__(
        self,
        pending: Sequence[Task],
        done: int,
        store: CellStore,
        metrics: Sequence[FoundMetric],
        observer: Observer,
        outcome: Outcome,
    ) -> None:
        self._tasks = {task.key: task for task in pending}
        self._done = done
        self._store = store
        self._metrics = metrics
        self._observer = observer
        self._outcome = outcome

    def started(self, node: Node, attempt: int) -> None: ...

    def lost_worker(self, node: Node, attempt: int, reason: str) -> None: ...

    def skipped(self, node: Node, failed: Node, result: TaskResult) -> None: ...

    def tick(self, running: Iterable[tuple[Node, float]]) -> None: ...

    def ended(self, node: Node, result: TaskResult, attempts: int) -> None:
        task = self._tasks[node.key]
        self._done += 1
        self._outcome.computed += 1
        failure = failure_text(result, self._store.log(task.key))
        if failure:
            self._observer.note(f"{task.label}: failed: {failure}")
        for cell in task.cells:
            if failure and not _is_scored(cell, self._metrics, self._store):
                self._store.put_failure(cell.key, failure)
        self._observer.advanced("videos", self._done)


def failure_text(result: TaskResult, log: Path) -> str:
    """Return an empty string on success, otherwise the error message in one line with the path of the log file."""
    if not result.failed or result.is_user_error:
        return result.message
    text = result.message if result.code == WORKER_DIED else f"internal error: {result.message}"
    return f"{text}; see {log}"


def _is_done(task: Task, metrics: Sequence[FoundMetric], store: CellStore) -> bool:
    return all(store.failure(cell.key) or _is_scored(cell, metrics, store) for cell in task.cells)


def _is_scored(cell: CellPlan, metrics: Sequence[FoundMetric], store: CellStore) -> bool:
    return all(skip_reason(found, cell.name.arm) or store.score(cell.key, found) is not None for found in metrics)


def _cell_result(task: Task, cell: CellPlan, metrics: Sequence[FoundMetric], store: CellStore) -> CellResult:
    failure = store.failure(cell.key)
    result = CellResult(cell.name, cell.key, "failed" if failure else "done", failure)
    video = store.video(task.key)
    if video.is_file():
        result.video = video.relative_to(store.folder).as_posix()
        result.record = {} if task.is_anchor else store.record(task.key)
        result.notes = [str(note) for note in result.record.get("notes", [])]
    for found in metrics:
        name = found.spec.name
        given = store.score(cell.key, found)
        if given is None or skip_reason(found, cell.name.arm):
            reason = (
                metric_availability(found) or missing_inputs(found, cell.ports) or skip_reason(found, cell.name.arm)
            )
            result.absent[name] = reason or failure
        elif given.error:
            result.failed_metrics[name] = given.error
        elif given.skip_reason:
            result.absent[name] = given.skip_reason
        else:
            for measure, value in given.scores.items():
                result.scores[measure] = value if math.isfinite(value) else None
    return result


def _faces(comparison: Comparison, registry: Registry, cache: Cache) -> dict[str, Box]:
    """Return each clip's face area, to which the report's images are cropped. Face tracks are read from the scoring
    cache."""
    opener = SceneOpener(registry, cache, SilentObserver())
    boxes: dict[str, Box] = {}
    for name, clip in comparison.file.clips.items():
        try:
            analysis = opener.track(clip)
        except InputError:
            continue
        points = analysis.landmarks(0, analysis.source.info.frame_count)[..., :2]
        found = points[np.isfinite(points).all(axis=(1, 2))]
        (left, top), (right, bottom) = found.min((0, 1)), found.max((0, 1))
        boxes[name] = (float(left), float(top), float(right), float(bottom))
    return boxes


# ---------------------------------------------------------------------- output directory


def _check_folder(out: Path, comparison: Comparison, force: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{out}: not a directory: choose a directory with --output", code="not-a-directory")
    marker = out / _MARKER
    if not marker.is_file():
        if any(out.iterdir()):
            message = (
                f"{out}: the directory contains files that do not belong to a comparison: choose a different directory "
                "with --output"
            )
            raise OutputError(message, code="foreign-directory")
        return
    # Videos and scores are stored under content keys, so only the report can be overwritten.
    try:
        known: Any = json.loads(marker.read_text(encoding="utf-8"))
    except ValueError:
        known = None
    if not force and (out / REPORT_FILE).is_file() and known != _identity(comparison):
        raise OutputError(
            f"{out}: the directory contains the report of a different comparison or of an earlier version of the "
            "comparison file: choose a different directory with --output, or pass --force to replace the report and "
            "reuse matching videos and scores",
            code="output-exists",
        )


def _write_marker(out: Path, comparison: Comparison) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with Folder(out).write(_MARKER) as path:
            path.write_text(json.dumps(_identity(comparison), indent=1), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        message = f"{out}: cannot write to the directory: {reason}: choose a different directory with --output"
        raise OutputError(message, code="unwritable-output") from error


def _identity(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison's content as JSON-compatible data without local file paths."""
    file = json.loads(comparison.file.model_dump_json())
    file["variants_as_run"] = {each.name: json.loads(each.config.model_dump_json()) for each in comparison.variants}
    for group in ("clips", "speeches"):
        file[group] = sorted(file[group])
    file.pop("base")
    return file


# ---------------------------------------------------------------------- description for the report


def _metrics(comparison: Comparison, registry: Registry) -> list[FoundMetric]:
    if comparison.file.metrics is None:
        return [found for found in registry.metrics if found.spec.default]
    return [registry.metric(name) for name in comparison.file.metrics]


def _empty_results(
    comparison: Comparison, plans: dict[str, Plan], metrics: list[FoundMetric], registry: Registry, jobs: int
) -> Results:
    file = json.loads(comparison.file.model_dump_json())
    file["arms"] = list(comparison.file.wanted_arms)
    return Results(
        title=comparison.file.title or comparison.path.stem,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        comparison=file,
        variants=[_variant_info(variant, plans[variant.name], registry) for variant in comparison.variants],
        metrics=[_metric_info(found) for found in metrics],
        cells=[],
        versions=_versions(plans, metrics),
        machine={
            "system": platform.platform(),
            "processor": _cpu_name(),
            "cores": str(os.cpu_count() or 1),
            "python": sys.version.split()[0],
        },
        jobs=jobs,
    )


def _variant_info(variant: Variant, chosen: Plan, registry: Registry) -> VariantInfo:
    declared = {checkpoint.name: checkpoint for checkpoint in registry.checkpoints}
    weights: dict[str, dict[str, Any]] = {}
    for stage in chosen.stages:
        for name, path in stage.weights.items():
            known = declared.get(name)
            weights[name] = {
                "name": name,
                "bytes": path.stat().st_size,
                "licence": "" if known is None else known.licence,
                "commercial_use": None if known is None else known.commercial_use,
            }
        for name, path in stage.config.files().items():
            label = f"{stage.config_path}.{name}"
            licence = stage.found.spec.licence
            weights[label] = {"name": label, "bytes": path.stat().st_size, "licence": licence, "commercial_use": None}
    return VariantInfo(
        name=variant.name,
        is_base=variant.is_base,
        stages={stage.config_path: stage.found.spec.name for stage in chosen.stages},
        differences=dict(variant.differences),
        configuration=effective(variant.config, registry),
        weights=tuple(weights.values()),
        licences=tuple(dict.fromkeys(stage.found.spec.licence for stage in chosen.stages)),
    )


def _metric_info(found: FoundMetric) -> MetricInfo:
    spec = found.spec
    return MetricInfo(
        name=spec.name,
        summary=spec.summary,
        source=spec.source,
        licence=spec.licence,
        package=f"{found.package} {found.package_version}",
        measures=spec.measures,
        unavailable=metric_availability(found) or "",
    )


def _versions(plans: dict[str, Plan], metrics: Sequence[FoundMetric]) -> dict[str, str]:
    versions = {"retalkit": __version__}
    for chosen in plans.values():
        versions |= chosen.package_versions()
    versions |= {found.package: found.package_version for found in metrics}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _cpu_name() -> str:
    """Return the CPU model name from the operating system."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
