"""Command ``retalkit compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retalkit.cli.options import PluginFiles

if TYPE_CHECKING:
    from retalkit.comparison.run import Outcome

_SHOWN_FAILURES = 5


def compare(
    file: Annotated[Path, typer.Argument(help="Comparison file (YAML).", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Output directory.")],
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            metavar="N",
            help="Number of videos rendered in parallel. Timings are unreliable for N > 1.",
        ),
    ] = 1,
    retry: Annotated[bool, typer.Option("--retry", help="Retry videos that failed in an earlier call.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Cache directory (default: RETALKIT_CACHE or ~/.cache/retalkit)."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Overwrite the report of a different comparison.")
    ] = False,
    plugin: PluginFiles = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Compare stage variants on clips. The results are videos, scores, statistics, an HTML report and a blind voting
    page."""
    from retalkit.cli.progress import progress
    from retalkit.plugins.discovery import discover

    registry = discover(plugin or [])
    from retalkit.comparison.publish import publish
    from retalkit.comparison.run import compare as run
    from retalkit.paths import reserved

    with reserved(output), progress(quiet=quiet) as observer:
        if registry.problems:
            observer.note("some plugins cannot be used; run `retalkit plugins` for the reasons")
        outcome = run(
            file,
            output,
            registry,
            observer,
            jobs=jobs,
            plugins=plugin or [],
            cache=cache,
            force=force,
            retry=retry,
        )
        report = publish(outcome.results, output, outcome.faces, observer)
    if not quiet:
        typer.echo(_summary(outcome, report))


def _summary(outcome: Outcome, report: Path) -> str:
    cells = outcome.results.cells
    failed = len(outcome.failed)
    what = f"{outcome.computed} videos rendered or scored" if outcome.computed else "all results were cached"
    lines = [
        f"cells    {len(cells) - failed} done, {failed} failed; {what}",
        f"report   {report}",
        f"votes    {report.with_name('blind.html')} (save the votes file in {outcome.folder / 'votes'})",
        f"tables   {outcome.folder / 'cells.csv'}, summary.csv, contrasts.csv, votes.csv, results.json",
    ]
    lines += [f"failed   {line}" for line in outcome.failed[:_SHOWN_FAILURES]]
    if failed > _SHOWN_FAILURES:
        lines.append(
            f"failed   and {failed - _SHOWN_FAILURES} more, listed in the report; use --retry to retry failed videos"
        )
    return "\n".join(lines)
