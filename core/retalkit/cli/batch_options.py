"""Options and output that ``retalkit batch`` and ``retalkit localize`` share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from retalkit.batch.jobs import Job, Row
    from retalkit.batch.outcome import BatchOutcome, JobOutcome

FAILED_JOBS = 3
"""Exit code if at least one job failed."""
REVIEW_JOBS = 4
"""Exit code if no job failed, but at least one needs review."""
_SHOWN = 5
_TABLE = 24
"""Maximum number of jobs of which the summary lists all."""
_EARLIER = {
    "done": "done",
    "needs review": "needs review",
    "failed": "failed earlier, see --retry-failed",
    "evaluate gates": "only gates",
}
"""Mapping from the state of a job that an earlier call ended to its description in a dry run."""

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, metavar="N", help="Number of parallel workers (default: 1; with Ray, the whole cluster)."
    ),
]
ExecutorName = Annotated[
    str, typer.Option("--executor", metavar="local|ray", help="Run the jobs on this machine or on a Ray cluster.")
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST", help="Ray cluster: auto, or HOST[:PORT] of its head node. Default: start Ray here."
    ),
]
Results = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Directory for the index page, tables, job records and logs. Default: NAME-results, where NAME is that of "
        "the job list or of the video.",
    ),
]
GateOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--gate",
        metavar="NAME=LIMIT",
        help="Limit of a quality gate (drift, edited, face_lost, silence, damaged or lips), such as silence=0.1 or "
        "drift=off; may be repeated.",
    ),
]
CacheFolder = Annotated[
    Path | None,
    typer.Option("--cache", metavar="FOLDER", help="Cache directory (default: RETALKIT_CACHE or ~/.cache/retalkit)."),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run jobs again that failed in an earlier call.")]
Force = Annotated[
    bool, typer.Option("--force", "-f", help="Overwrite existing outputs, except those that are up to date.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also print details, such as the number of tasks.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write progress as JSON lines to stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Validate and list all jobs, and which of them would run.")]


def execute(
    command: str,
    *,
    jobs_file: Path | None = None,
    rows: Sequence[Row] = (),
    results: Path,
    jobs: int | None,
    executor: str,
    address: str | None,
    config: Path | None,
    preset: str | None,
    overrides: Sequence[str],
    gates: Sequence[str],
    cache: Path | None,
    retry_failed: bool,
    force: bool,
    plugins: Sequence[Path],
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Run the jobs of ``jobs_file``, or of ``rows`` if no file is given, and exit with the code of the batch."""
    import os
    import sys
    from contextlib import redirect_stdout
    from functools import partial

    from retalkit.batch.executors import check_executor, open_executor
    from retalkit.batch.gate_limits import GateLimits
    from retalkit.batch.jobs import Common, build_jobs
    from retalkit.batch.jobs_file import merge_gates, read_jobs
    from retalkit.batch.run import BatchOptions, check_batch, run_batch
    from retalkit.cli.json_progress import JsonProgress
    from retalkit.cli.run_report import report_run
    from retalkit.cues.faults import Faults
    from retalkit.plugins.discovery import discover

    with report_run(quiet=quiet, verbose=verbose, as_json=as_json, command=command) as report:
        check_executor(executor, address)
        faults = Faults()
        limits, folder = GateLimits(), Path()
        if jobs_file is not None:
            read = read_jobs(jobs_file, faults)
            rows, limits, folder = read.rows, read.gates, jobs_file.parent
        limits = merge_gates(limits, list(gates))
        registry = discover(list(plugins))
        common = Common(folder=folder, config=config, preset=preset, overrides=list(overrides))
        built = build_jobs(rows, common, registry, faults)
        options = BatchOptions(
            results=results, gates=limits, cache=cache, plugins=plugins, force=force, retry_failed=retry_failed
        )
        if registry.problems:
            report.observer.note("some plugins cannot be used; run `retalkit plugins` for the reasons")
        if dry_run:
            states = check_batch(built, options, registry, faults)
            report.summary = "" if quiet else _plan_lines(built, states)
            return
        device = built[0].config.device if built else "cpu"
        # Ray prints messages about lost workers to stdout, where they would be mixed with JSON lines. The observer has
        # its own reference to stdout, and receives a note about every lost worker.
        with Path(os.devnull).open("w") as null, redirect_stdout(null if executor == "ray" else sys.stdout):
            outcome = run_batch(
                built,
                options,
                registry,
                partial(open_executor, executor, jobs, address=address, device=device),
                report.observer,
                faults=faults,
                cancellation=report.stopped,
            )
        if isinstance(report.observer, JsonProgress):
            report.observer.write("result", **_result(outcome))
        elif not quiet:
            report.summary = summary(outcome)
    counts = outcome.counts
    if counts["failed"] or counts["needs review"]:
        raise typer.Exit(FAILED_JOBS if counts["failed"] else REVIEW_JOBS)


def summary(outcome: BatchOutcome) -> str:
    """Return a table of the jobs, the number of jobs in each state, the problems and the written files as lines of
    text. The table of a long list contains only jobs that failed or need review."""
    problems = [each for each in outcome.jobs if each.state in ("failed", "needs review")]
    lines = _table(outcome.jobs if len(outcome.jobs) <= _TABLE else problems)
    counts = ", ".join(f"{count} {state}" for state, count in outcome.counts.items() if count)
    computed = outcome.computed - outcome.evaluated
    work = [f"{computed or 'none'} computed"] if computed or not outcome.evaluated else []
    work += [f"gates of {outcome.evaluated} evaluated again"] if outcome.evaluated else []
    lines.append(f"jobs     {counts}; {', '.join(work)} in this call")
    for state in ("failed", "needs review"):
        found = [each for each in problems if each.state == state]
        for each in found[:_SHOWN]:
            lines.append(f"{state.split()[-1]:<8} {each.job.name}: {each.problem}")
        if len(found) > _SHOWN:
            lines.append(f"{state.split()[-1]:<8} and {len(found) - _SHOWN} more, listed in summary.csv")
    notes = Counter(note for each in outcome.jobs for note in dict.fromkeys(each.notes))
    # Notes that concern few jobs are more likely to need attention.
    rarest = sorted(notes.items(), key=lambda item: item[1])
    for note, count in rarest[:_SHOWN]:
        lines.append(f"note     {count} job{'s' if count > 1 else ''}: {note}")
    if len(rarest) > _SHOWN:
        lines.append(f"note     and {len(rarest) - _SHOWN} more, listed in summary.csv")
    if outcome.computed:
        lines.append(
            f"seconds  {outcome.wall_seconds:.1f} for {outcome.work_seconds:.1f} s of work on {outcome.workers} "
            f"worker{'s' if outcome.workers > 1 else ''}"
        )
    lines.append(f"results  {outcome.folder / 'index.html'}, summary.csv, results.json")
    if outcome.counts["failed"]:
        lines.append("retry    run the command again with --retry-failed")
    return "\n".join(lines)


def _table(jobs: Sequence[JobOutcome]) -> list[str]:
    """Return one line per job with its state, output, edited frames and time, and an empty line."""
    rows: list[tuple[str, str, str, str]] = []
    for each in jobs[:_TABLE]:
        edited, passed = each.values.get("frames_edited"), each.values.get("frames_passed", {})
        frames = "" if edited is None else f"{edited}/{edited + sum(passed.values())}"
        rows.append((each.state, each.job.name, frames, f"{each.values['seconds']:.1f}" if each.values else ""))
    if not rows:
        return []
    rows.insert(0, ("state", "output", "edited", "seconds"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{state:<{widths[0]}}  {name:<{widths[1]}}  {frames:>{widths[2]}}  {seconds:>{widths[3]}}".rstrip()
        for state, name, frames, seconds in rows
    ]
    if len(jobs) > _TABLE:
        lines.append(f"{len(jobs) - _TABLE} more jobs that failed or need review are listed in summary.csv")
    return [*lines, ""]


def _plan_lines(jobs: Sequence[Job], states: Mapping[Path, str]) -> str:
    """Return one line per job for ``--dry-run``, and the number of jobs that a call would compute."""
    lines: list[str] = []
    for job in jobs:
        speech = " with ".join(str(path) for path in (job.cues, job.speech) if path is not None)
        details = [text for text in (job.settings, _EARLIER.get(states[job.output], "")) if text]
        lines.append(f"{job.video}  {speech}  ->  {job.output}" + (f"  ({', '.join(details)})" if details else ""))
    to_compute = [job for job in jobs if states[job.output] == "not run"]
    evaluated = sum(states[job.output] == "evaluate gates" for job in jobs)
    earlier = Counter(states[job.output] for job in jobs if states[job.output] not in ("not run", "evaluate gates"))
    counts = [f"{count} {state}" for state, count in earlier.items()]
    counts += [f"gates of {evaluated} to evaluate"] if evaluated else []
    videos = len({job.video for job in to_compute})
    counts += [f"{len(to_compute)} to compute from {videos} video{'s' if videos != 1 else ''}"] if to_compute else []
    return "\n".join([*lines, f"{len(jobs)} valid job{'s' if len(jobs) != 1 else ''}: {', '.join(counts)}"])


def _result(outcome: BatchOutcome) -> dict[str, Any]:
    return {
        "counts": dict(outcome.counts),
        "computed": outcome.computed,
        "results": str(outcome.folder),
        "wall_seconds": round(outcome.wall_seconds, 3),
        "work_seconds": round(outcome.work_seconds, 3),
    }
