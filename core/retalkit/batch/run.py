"""Execution of a batch: validation, resume, task graph and results."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from retalkit.batch.check import check_jobs, fingerprint, identify_jobs, is_unchanged
from retalkit.batch.checked_jobs import CheckedJob, IdentifiedJob
from retalkit.batch.dubbing import ANALYSE, JOB, SPEECH
from retalkit.batch.engine import run_nodes
from retalkit.batch.executor import Executor, Task, TaskResult
from retalkit.batch.gate_limits import GateLimits
from retalkit.batch.index_page import write_index
from retalkit.batch.jobs import Job
from retalkit.batch.journal import Journal
from retalkit.batch.outcome import BatchOutcome, JobOutcome, job_state
from retalkit.batch.output_checks import check_folders
from retalkit.batch.result_file import result_file
from retalkit.batch.schedule import Node
from retalkit.batch.tables import write_tables
from retalkit.cues.faults import Faults
from retalkit.errors import OutputError
from retalkit.observer import Observer, SilentObserver, report_detail, report_time_left
from retalkit.paths import partial_files, reserved, shortened
from retalkit.pipeline.record import check_record, record_path
from retalkit.pipeline.time_left import HISTORY, StepHistory
from retalkit.plugins.registry import Registry
from retalkit.provenance.sidecars import check_sidecar
from retalkit.storage.cache import Cache, default_folder, make_key

LOGS: Final = "logs"
_LONGEST_STEM: Final = 150
"""Maximum length in bytes of the part of an output's name that is part of the names of its record and log."""
JOB_RECORDS: Final = "jobs"
_STEP: Final = "jobs"
_PRUNE_SECONDS: Final = 600.0
"""Interval in seconds in which a long batch prunes the cache."""


@runtime_checkable
class JobReceiver(Protocol):
    """Optional addition to ``Observer`` for observers that show the result of every job."""

    def job(self, outcome: JobOutcome) -> None:
        """Called when a job has ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """Options of a batch."""

    results: Path
    """Directory for the index page, the tables, the job records and the logs."""
    gates: GateLimits = field(default_factory=GateLimits)
    cache: Path | None = None
    """Cache directory, which all workers must reach under this path (default: as for ``retalkit.dub``)."""
    plugins: Sequence[Path] = ()
    force: bool = False
    """Whether existing outputs may be replaced."""
    retry_failed: bool = False
    """Whether jobs that failed in an earlier call run again."""


def run_batch(
    jobs: Sequence[Job],
    options: BatchOptions,
    registry: Registry,
    open_executor: Callable[[], Executor],
    observer: Observer,
    *,
    faults: Faults | None = None,
    cancellation: threading.Event | None = None,
) -> BatchOutcome:
    """Run all jobs that are not done yet, and write the index page and the tables.

    All jobs are validated before any work starts. ``faults``: faults that were found when the job list was read. Jobs
    of one video share its analysis, and jobs with one speech share the prepared speech. A failing job does not affect
    the others. A second call with the same jobs computes nothing, and a call after a killed or cancelled one computes
    what is missing.

    Raises RetalkitError with the first fault of the job list, RunCancelledError if ``cancellation`` is set, and
    BatchError if no worker can be started.
    """
    return _Batch(jobs, options, registry, observer, faults or Faults()).execute(open_executor, cancellation)


def check_batch(jobs: Sequence[Job], options: BatchOptions, registry: Registry, faults: Faults) -> Mapping[Path, str]:
    """Validate all jobs without running them.

    Return a mapping from output to the state in which an earlier call left the job. Jobs that will be computed have the
    state ``not run``, and finished jobs whose gates will be evaluated have the state ``evaluate gates``. Raises
    RetalkitError with the first fault.
    """
    batch = _Batch(jobs, options, registry, SilentObserver(), faults)
    states: dict[Path, str] = {job.output: "not run" for job in jobs}
    states.update((output, each.state) for output, each in batch.results.items())
    states.update((output, "evaluate gates") for output in batch.only_gates)
    return states


class _Batch:
    """State of one call. Receives the events of the task graph."""

    def __init__(
        self, jobs: Sequence[Job], options: BatchOptions, registry: Registry, observer: Observer, faults: Faults
    ) -> None:
        self.began = time.monotonic()
        self.options = options
        self.observer = observer
        self.cache_folder = options.cache if options.cache is not None else default_folder()
        self.known = identify_jobs(jobs, registry, faults)
        check_folders(self.known, options.results, self.cache_folder, faults)
        self.journal = Journal(options.results, force=options.force)
        self.outcome = BatchOutcome(options.results)
        self.results: dict[Path, JobOutcome] = {}
        self.replaceable: set[Path] = set()
        self.own: set[Path] = set()
        """Outputs that are missing or were written by an interrupted or failed job."""
        self.only_gates: set[Path] = set()
        """Outputs that are done, and whose gates are missing."""
        # Only files of jobs that will run are opened.
        missing = [each for each in self.known if not self._is_settled(each, faults)]
        history = StepHistory(self.cache_folder / HISTORY)
        self.pending = check_jobs(missing, registry, history, faults)
        faults.check()
        for note in dict.fromkeys(each.note for each in missing if each.note):
            observer.note(note)
        self.jobs = {self._node_key(each): each for each in self.pending}
        self.inputs: dict[str, dict[str, list[int]]] = {}
        self.before: dict[str, list[int]] = {}
        """Fingerprint of each output before the first attempt, which is empty if the file is the batch's own or did not
        exist."""
        self.progress = _Progress(observer)
        self.pruned = time.monotonic()
        self.task_starts: dict[str, float] = {}

    def execute(self, open_executor: Callable[[], Executor], cancellation: threading.Event | None) -> BatchOutcome:
        with ExitStack() as stack:
            # An executor that cannot be used is reported before anything is written.
            executor = stack.enter_context(open_executor()) if self.pending else None
            stack.enter_context(self.journal)
            self.observer.started(_STEP, len(self.known))
            self.observer.advanced(_STEP, len(self.known) - len(self.pending))
            try:
                if executor is not None:
                    self._run(executor, cancellation)
            finally:
                self.outcome.wall_seconds = time.monotonic() - self.began
                self._publish()
            self.observer.finished(_STEP, self.outcome.wall_seconds, not self.pending)
        return self.outcome

    def _run(self, executor: Executor, cancellation: threading.Event | None) -> None:
        Cache(self.cache_folder)
        for each in self.pending:
            try:
                each.job.output.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                text = f"{each.job.output.parent}: cannot create the directory: {error.strerror or error}"
                raise OutputError(text, code="unwritable-output") from error
        nodes = self._nodes()
        self.progress.expect(nodes)
        self.outcome.workers = executor.workers
        self.progress.workers = executor.workers
        text = f"workers: {executor.workers}, tasks: {len(nodes)}, cache: {self.cache_folder}"
        report_detail(self.observer, text)
        run_nodes(nodes, executor, self, cancellation=cancellation)
        self._prune(0.0)

    # ------------------------------------------------------------------ resume

    def _is_settled(self, each: IdentifiedJob, faults: Faults) -> bool:
        """Return whether a job needs no task, and decide whether the existing output of other jobs may be replaced."""
        job, entry = each.job, self.journal.entry(each.job.output)
        current = entry is not None and entry["key"] == each.key
        if entry is not None and current and entry["state"] == "done" and self._is_done(each, entry):
            if entry.get("gates_key") == self._gates_key(each):
                self.results[job.output] = self._earlier(job, entry)
                return True
            self.only_gates.add(job.output)
            return False
        if entry is not None and current and entry["state"] == "failed" and not self.options.retry_failed:
            known: Mapping[str, Any] = entry.get("inputs", {})
            if all(fingerprint(path) == known.get(str(path.absolute()), {}).get("stat") for path in each.inputs):
                self.results[job.output] = self._earlier(job, entry)
                return True
        # An earlier call recorded the start of the job, so an output that appeared without an end is its own. A job can
        # also fail after its output was written.
        own = False
        if entry is not None and entry["state"] in ("started", "failed"):
            found, recorded = fingerprint(job.output), list[int](entry.get("output_stat", []))
            own = not found or (found == recorded) == (entry["state"] == "failed")
        if own:
            self.own.add(job.output)
        if self.options.force or own:
            self.replaceable.add(job.output)
        elif job.output.exists():
            cause = "the file already exists"
            if entry is not None and entry["state"] == "done":
                cause = "the output was made from other inputs, settings or versions, or was changed since"
            text = f"{job.origin}: output: {job.output}: {cause}; use --force to replace it, or choose another output"
            faults.add(OutputError(text, code="output-exists"))
        else:
            try:
                check_sidecar(job.output, force=False)
                check_record(job.output, inputs=each.inputs)
            except OutputError as error:
                faults.add(OutputError(f"{job.origin}: output: {error}", code=error.code))
        return False

    def _is_done(self, each: IdentifiedJob, entry: Mapping[str, Any]) -> bool:
        output = each.job.output
        known: Mapping[str, Any] = entry.get("inputs", {})
        return (
            bool(entry.get("output_stat"))
            and fingerprint(output) == entry["output_stat"]
            and record_path(output).is_file()
            and all(is_unchanged(path, known.get(str(path.absolute()), {})) for path in each.inputs)
        )

    def _earlier(self, job: Job, entry: Mapping[str, Any]) -> JobOutcome:
        return JobOutcome(job=job, state=job_state(entry["state"], entry.get("gates", ())), values=entry)

    def _gates_key(self, each: IdentifiedJob) -> str:
        files = [path for path in (each.job.reference, each.job.transcript) if path is not None]
        return make_key("gates", self.options.gates.plain(), [[str(path), fingerprint(path)] for path in files])

    # ------------------------------------------------------------------ task graph

    def _node_key(self, each: CheckedJob) -> str:
        return f"job {each.job.output.absolute()}"

    def _nodes(self) -> list[Node]:
        """Return the nodes of all pending jobs, and of the steps that several of them share."""
        rendered = [each for each in self.pending if each.job.output not in self.only_gates]
        analyses = Counter(each.analysis for each in rendered)
        detections = Counter(each.detections for each in rendered)
        speeches = Counter(key for each in rendered for key in each.speeches)
        nodes: dict[str, Node] = {}
        first_analysis: dict[str, str] = {}
        for each in rendered:
            group = str(each.job.video)
            if (analyses[each.analysis] > 1 or detections[each.detections] > 1) and each.analysis not in nodes:
                # Analyses that share detections run one after another, so that the detections are computed once.
                first = first_analysis.setdefault(each.detections, each.analysis)
                nodes[each.analysis] = Node(
                    key=each.analysis,
                    task=partial(self._task, ANALYSE, each),
                    after=[] if first == each.analysis else [first],
                    cost=each.analysis_cost,
                    group=group,
                )
                self.outcome.analyses += 1
            for key, path in each.speeches.items():
                if speeches[key] > 1 and key not in nodes:
                    task = partial(self._task, SPEECH, each, speech=path)
                    nodes[key] = Node(key=key, task=task, cost=each.speech_cost, group=f"speech {path}")
        for each in self.pending:
            only_gates = each.job.output in self.only_gates
            shared = [] if only_gates else [key for key in (each.analysis, *each.speeches) if key in nodes]
            cost = each.cost + (0.0 if each.analysis in nodes else each.analysis_cost)
            cost += sum(each.speech_cost for key in each.speeches if key not in nodes)
            key = self._node_key(each)
            task = partial(self._task, JOB, each)
            nodes[key] = Node(key=key, task=task, after=shared, cost=cost, group=str(each.job.video))
        return list(nodes.values())

    def _task(self, function: str, each: CheckedJob, speech: Path | None = None) -> Task:
        job, options = each.job, self.options
        shown = speech or job.speech
        payload: dict[str, Any] = {
            "folder": str(Path.cwd()),
            "cache": str(self.cache_folder.absolute()),
            "plugins": [str(path.absolute()) for path in options.plugins],
            "configuration": dict(each.configuration),
            "video": str(job.video.absolute()),
            "speech": _text(shown),
            "cues": _text(job.cues),
            "frames": each.frames,
        }
        slug = file_name(job)
        if function == JOB:
            payload |= {
                "output": str(job.output.absolute()),
                "render": job.output not in self.only_gates,
                "force": job.output in self.replaceable,
                "gates": options.gates.plain(),
                "reference": _text(job.reference),
                "transcript": _text(job.transcript),
            }
        elif function == ANALYSE:
            slug = make_key(shortened(job.video.stem, _LONGEST_STEM), each.analysis)
        else:
            slug = make_key(shortened(Path(str(shown)).stem, _LONGEST_STEM), str(shown))
        log = (options.results / LOGS / f"{slug}.txt").absolute()
        return Task(function=function, payload=payload, log=log, label=job.name)

    # ------------------------------------------------------------------ events

    def started(self, node: Node, attempt: int) -> None:
        self.task_starts[node.key] = time.monotonic()
        each = self.jobs.get(node.key)
        if each is None:
            return
        self.inputs[node.key] = {str(path.absolute()): fingerprint(path) for path in each.inputs}
        if each.job.output not in self.only_gates:
            found = fingerprint(each.job.output)
            before = self.before.setdefault(node.key, [] if each.job.output in self.own else found)
            self.journal.start(each.job.output, each.key, before)
            # The worker that died may have written the output. Another file was not there before.
            if attempt > 1 and (not found or found != before):
                self.replaceable.add(each.job.output)

    def lost_worker(self, node: Node, attempt: int, reason: str) -> None:
        each = self.jobs.get(node.key)
        name = node.group if each is None else each.job.name
        self.observer.note(f"{name}: {reason}; the task runs again")

    def ended(self, node: Node, result: TaskResult, attempts: int) -> None:
        self.task_starts.pop(node.key, None)
        self.progress.end(node, result)
        self.outcome.work_seconds += result.seconds
        self.outcome.cpu_seconds += result.cpu_seconds
        if (each := self.jobs.get(node.key)) is not None:
            self._end_job(node, each, result, attempts)

    def skipped(self, node: Node, failed: Node, result: TaskResult) -> None:
        self.progress.end(node, result)
        each = self.jobs.get(node.key)
        if each is not None:
            self.inputs[node.key] = {str(path.absolute()): fingerprint(path) for path in each.inputs}
            log = failed.task().log
            self._end_job(node, each, result, 0, "" if log is None else f"{LOGS}/{log.name}")

    def tick(self, running: Iterable[tuple[Node, float]]) -> None:
        self.progress.tick(running)
        if time.monotonic() - self.pruned > _PRUNE_SECONDS:
            oldest = min(self.task_starts.values(), default=time.monotonic())
            self._prune(time.monotonic() - oldest + 60.0)

    def _end_job(self, node: Node, each: CheckedJob, result: TaskResult, attempts: int, log: str = "") -> None:
        """Record the end of a job. ``log``: log of the shared step whose failure ended the job."""
        job = each.job
        earlier = self.journal.entry(job.output) or {}
        hashes: Mapping[str, str] = result.value.get("hashes", {})
        values: dict[str, Any] = {
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(result.seconds, 3),
            "cpu_seconds": round(result.cpu_seconds, 3),
            "attempts": attempts,
            "worker": result.worker,
            "log": log or f"{LOGS}/{file_name(job)}.txt",
        }
        if result.failed:
            reason = result.message if result.is_user_error else f"{result.message}; see {values['log']}"
            values |= {"code": result.code, "reason": reason, "output_stat": self._own_stat(node, each, result)}
        elif "hashes" not in result.value:
            # Only the gates were evaluated. The facts about the run are those of the earlier call.
            values = {**earlier, **values}
            self.outcome.evaluated += 1
            hashes = {path: known.get("sha256", "") for path, known in earlier.get("inputs", {}).items()}
        known_inputs = {
            path: {"stat": found, "sha256": hashes.get(path, "")} for path, found in self.inputs[node.key].items()
        }
        facts = {name: value for name, value in result.value.items() if name != "hashes"}
        values |= {**facts, "inputs": known_inputs, "gates_key": self._gates_key(each)}
        state = "failed" if result.failed else "done"
        if attempts > 1 or job.output in self.replaceable:
            # A different run that writes the same output holds the reservation, and its temporary files are kept.
            with suppress(OutputError), reserved(job.output):
                for path in partial_files(job.output):
                    path.unlink(missing_ok=True)
        for name in ("output", "state", "key"):
            values.pop(name, None)
        outcome = JobOutcome(job=job, state=job_state(state, values.get("gates", ())), computed=True, values=values)
        self.results[job.output] = outcome
        with result_file(self.options.results / JOB_RECORDS / f"{file_name(job)}.json") as path:
            text = json.dumps(outcome.plain(), indent=1, ensure_ascii=False)
            path.write_text(text + "\n", encoding="utf-8")
        self.journal.end(job.output, each.key, state, values)
        if outcome.state == "failed":
            self.observer.note(f"{job.name}: failed: {outcome.reason}")
        elif outcome.state == "needs review":
            self.observer.note(f"{job.name}: needs review: {outcome.problem}")
        if isinstance(self.observer, JobReceiver):
            self.observer.job(outcome)
        self.observer.advanced(_STEP, len(self.results))

    def _own_stat(self, node: Node, each: CheckedJob, result: TaskResult) -> list[int]:
        """Return the fingerprint of an output that a failed job wrote, or an empty list if it wrote none.

        Only an output with a fingerprint may be replaced by a later call without ``force``.
        """
        found = fingerprint(each.job.output)
        own = result.code not in ("output-exists", "output-in-use") and found != self.before.get(node.key, found)
        return found if own else []

    # ------------------------------------------------------------------ results

    def _publish(self) -> None:
        self.outcome.jobs = [
            self.results.get(each.job.output, JobOutcome(job=each.job, state="not run")) for each in self.known
        ]
        write_tables(self.outcome, self.options.gates)
        write_index(self.outcome)

    def _prune(self, used_within: float) -> None:
        """Remove the oldest results if the cache exceeds the limit in the configurations, but none that is in use."""
        self.pruned = time.monotonic()
        limit = max(float(each.configuration["cache_limit_gb"]) for each in self.pending)
        Cache(self.cache_folder).prune(int(min(limit, 1e9) * 1e9), keep=set(), used_within=used_within)


class _Progress:
    """Estimate of the time left in a batch."""

    def __init__(self, observer: Observer) -> None:
        self.workers = 1
        self._observer = observer
        self._began = time.monotonic()
        self._left: dict[str, float] = {}
        self._expected = 0.0
        self._spent = 0.0

    def expect(self, nodes: Sequence[Node]) -> None:
        self._left = {node.key: node.cost for node in nodes}

    def end(self, node: Node, result: TaskResult) -> None:
        self._left.pop(node.key, None)
        if not result.failed:
            self._expected += node.cost
            self._spent += result.seconds

    def tick(self, running: Iterable[tuple[Node, float]]) -> None:
        left = sum(self._left.values()) - sum(node.cost * fraction for node, fraction in running)
        # The expected costs are those of one run alone. The machine may be slower with several workers.
        speed = (self._spent + 1.0) / (self._expected + 1.0)
        seconds = max(left, 0.0) * speed / self.workers
        passed = time.monotonic() - self._began
        report_time_left(self._observer, seconds, passed / max(passed + seconds, 1e-9))


def file_name(job: Job) -> str:
    """Return the stem of the names of a job's record and log."""
    # The names of temporary files and suffixes are added.
    return make_key(shortened(job.output.stem, _LONGEST_STEM), str(job.output.absolute()))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
