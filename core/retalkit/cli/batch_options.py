"""Options and output that ``retalkit batch`` and ``retalkit localize`` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from retalkit.batch.jobs import Row
    from retalkit.batch.outcome import BatchOutcome

FAILED_JOBS = 3
"""Exit code if at least one job failed."""
REVIEW_JOBS = 4
"""Exit code if no job failed, but at least one needs review."""
_SHOWN = 5

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
    typer.Option(metavar="FOLDER", help="Directory for the index page, tables, job records and logs."),
]
GateOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--gate",
        metavar="NAME=LIMIT",
        help="Limit of a quality gate, such as silence=0.1 or drift=off; may be repeated.",
    ),
]
CacheFolder = Annotated[
    Path | None,
    typer.Option("--cache", metavar="FOLDER", help="Cache directory (default: RETALKIT_CACHE or ~/.cache/retalkit)."),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run jobs again that failed in an earlier call.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite existing outputs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also print details, such as the number of tasks.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write progress as JSON lines to stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Validate and list all jobs without running them.")]


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
            check_batch(built, options, registry, faults)
            lines = [f"{job.video}  {job.cues or job.speech}  ->  {job.output}" for job in built]
            report.summary = "" if quiet else "\n".join([*lines, f"{len(built)} valid jobs"])
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
    """Return the number of jobs in each state, the problems and the written files as several lines of text."""
    counts = ", ".join(f"{count} {state}" for state, count in outcome.counts.items() if count)
    lines = [f"jobs     {counts}; {outcome.computed or 'none'} computed in this call"]
    for state in ("failed", "needs review"):
        found = [each for each in outcome.jobs if each.state == state]
        for each in found[:_SHOWN]:
            texts = [str(gate["text"]) for gate in each.gates if gate["verdict"] == "review"]
            lines.append(f"{state.split()[-1]:<8} {each.job.name}: {each.reason or '; '.join(texts)}")
        if len(found) > _SHOWN:
            lines.append(f"{state.split()[-1]:<8} and {len(found) - _SHOWN} more, listed in the tables")
    if outcome.computed:
        lines.append(
            f"seconds  {outcome.wall_seconds:.1f} for {outcome.work_seconds:.1f} s of work on {outcome.workers} "
            f"worker{'s' if outcome.workers > 1 else ''}"
        )
    lines.append(f"results  {outcome.folder / 'index.html'}, summary.csv, results.json")
    if outcome.counts["failed"]:
        lines.append("retry    run the command again with --retry-failed")
    return "\n".join(lines)


def _result(outcome: BatchOutcome) -> dict[str, Any]:
    return {
        "counts": dict(outcome.counts),
        "computed": outcome.computed,
        "results": str(outcome.folder),
        "wall_seconds": round(outcome.wall_seconds, 3),
        "work_seconds": round(outcome.work_seconds, 3),
    }
