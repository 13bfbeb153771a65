"""Command ``retalkit batch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retalkit.cli import batch_options as shared
from retalkit.cli.options import ConfigFile, Overrides, PluginFiles, Preset


def batch(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="JOBS", help="Job list (.yaml or .csv).", show_default=False)],
    *,
    jobs: shared.Jobs = None,
    executor: shared.ExecutorName = "local",
    address: shared.Address = None,
    results: shared.Results = None,
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    gate: shared.GateOptions = None,
    retry_failed: shared.RetryFailed = False,
    dry_run: shared.DryRun = False,
    cache: shared.CacheFolder = None,
    force: shared.Force = False,
    plugin: PluginFiles = None,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    as_json: shared.AsJson = False,
) -> None:
    """Dub many videos. Run the command again to compute only what is missing.

    Exit code: 0 if all jobs are done, 2 if the jobs or options are invalid and nothing was computed, 3 if a job failed,
    and 4 if no job failed but at least one needs review.
    """
    shared.execute(
        str(context.obj),
        jobs_file=file,
        results=results if results is not None else file.with_name(f"{file.stem}-results"),
        jobs=jobs,
        executor=executor,
        address=address,
        config=config,
        preset=preset,
        overrides=overrides or [],
        gates=gate or [],
        cache=cache,
        retry_failed=retry_failed,
        force=force,
        plugins=plugin or [],
        dry_run=dry_run,
        quiet=quiet,
        verbose=verbose,
        as_json=as_json,
    )
