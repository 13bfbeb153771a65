"""Command ``retalkit evaluate VIDEO``, which computes metrics for one finished video from any source."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retalkit.cli.options import PluginFiles
from retalkit.plugins.metric_specs import LIPS, ORIGINAL, QUIET, TRUTH

if TYPE_CHECKING:
    from retalkit.metrics.evaluate_video import VideoScores


_OPTION_FOR_PORT = {
    ORIGINAL: "--original",
    TRUTH: "--reference and --original with the same file",
    LIPS: "--reference",
    QUIET: "--silent",
}
"""Mapping from a port that a metric may require to the command-line option that provides the port's data."""


def video(
    video: Annotated[Path, typer.Argument(help="Finished video.", show_default=False)],
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="VIDEO",
            help="Reference video for lip motion, which shows a person who speaks the same audio in sync.",
        ),
    ] = None,
    original: Annotated[
        Path | None,
        typer.Option(metavar="VIDEO", help="Unedited clip. Default: the clip in VIDEO's run record."),
    ] = None,
    speech: Annotated[
        Path | None, typer.Option(metavar="AUDIO", help="Speech before encoding. Default: VIDEO's audio track.")
    ] = None,
    silent: Annotated[
        bool, typer.Option("--silent", help="The audio contains no speech, so the mouth should be at rest.")
    ] = False,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", metavar="NAME", help="Compute only this metric; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Cache directory (default: RETALKIT_CACHE or ~/.cache/retalkit)."),
    ] = None,
    plugin: PluginFiles = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not print progress.")] = False,
) -> None:
    """Score a finished VIDEO from any source with every metric whose inputs are available."""
    from retalkit.cli.progress import progress
    from retalkit.plugins.discovery import discover

    registry = discover(plugin or [])
    chosen = [registry.metric(name) for name in metrics] if metrics else registry.metrics

    from retalkit.metrics.evaluate_video import evaluate_video
    from retalkit.storage.cache import Cache, default_folder

    with progress(quiet=quiet) as observer:
        scores = evaluate_video(
            video,
            registry,
            Cache(cache if cache is not None else default_folder()),
            observer,
            metrics=chosen,
            reference=reference,
            original=original,
            speech=speech,
            silent=silent,
        )
    typer.echo(json.dumps(scores.plain(), indent=2) if as_json else _table(scores))


def _table(scores: VideoScores) -> str:
    rows: list[tuple[str, str, str]] = []
    headings: dict[int, str] = {}
    skipped: list[str] = []
    for found in scores.metrics:
        result = scores.results[found.spec.name]
        if result.skip_reason or result.error:
            missing = found.spec.needs - scores.ports
            how = [option for port, option in _OPTION_FOR_PORT.items() if port in missing]
            options = f" ({', '.join(how)})" if how else ""
            skipped.append(f"  {found.spec.name}: {result.skip_reason or result.error}{options}")
            continue
        headings[len(rows)] = found.spec.name
        for measure in found.spec.measures:
            value = result.scores[measure.name]
            number = f"{value:.{measure.digits}f}" if math.isfinite(value) else "-"
            best = f"closer to {measure.ideal:g}" if measure.direction == "nearer" else measure.direction
            rows.append((f"  {measure.title}", f"{number} {measure.unit}".strip(), f"{best} is better"))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    lines: list[str] = []
    for position, row in enumerate(rows):
        if position in headings:
            lines.append(typer.style(headings[position], bold=True))
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join([*lines, *([typer.style("not computed:", bold=True), *skipped] if skipped else [])])
