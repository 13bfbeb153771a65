"""``retalkit evaluate VIDEO``: one finished video, whoever made it."""

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


_GIVEN_BY = {
    ORIGINAL: "--original",
    TRUTH: "--reference and --original the same file",
    LIPS: "--reference",
    QUIET: "--silent",
}
"""What a metric may need -> the option that brings it."""


def video(
    video: Annotated[Path, typer.Argument(help="The finished video.", show_default=False)],
    reference: Annotated[
        Path | None,
        typer.Option(metavar="VIDEO", help="Somebody who really says it, in time with the sound: what lips should do."),
    ] = None,
    original: Annotated[
        Path | None,
        typer.Option(metavar="VIDEO", help="The unedited clip. Default: the one that VIDEO's run record names."),
    ] = None,
    speech: Annotated[
        Path | None, typer.Option(metavar="SOUND", help="The sound before it was encoded. Default: VIDEO's own.")
    ] = None,
    silent: Annotated[bool, typer.Option("--silent", help="Nobody speaks: the mouth should rest.")] = False,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", metavar="NAME", help="Only this metric; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where tracked faces are kept (RETALKIT_CACHE, ~/.cache/retalkit)."),
    ] = None,
    plugin: PluginFiles = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Measure one finished VIDEO of any origin with every metric that has what it needs."""
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
    typer.echo(json.dumps(scores.plain(), indent=2) if as_json else _text(scores))


def _text(scores: VideoScores) -> str:
    rows: list[tuple[str, str, str]] = []
    heads: dict[int, str] = {}
    left_out: list[str] = []
    for found in scores.metrics:
        given = scores.given[found.spec.name]
        if given.absent or given.error:
            how = [_GIVEN_BY[port] for port in _GIVEN_BY if port in found.spec.needs - scores.ports]
            options = f" ({', '.join(how)})" if how else ""
            left_out.append(f"  {found.spec.name}: {given.absent or given.error}{options}")
            continue
        heads[len(rows)] = found.spec.name
        for measure in found.spec.measures:
            value = given.scores[measure.name]
            text = f"{value:.{measure.digits}f}" if math.isfinite(value) else "-"
            best = measure.direction if measure.direction != "nearer" else f"near {measure.ideal:g}"
            rows.append((f"  {measure.title}", f"{text} {measure.unit}".strip(), f"{best} is better"))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    lines: list[str] = []
    for position, row in enumerate(rows):
        if position in heads:
            lines.append(typer.style(heads[position], bold=True))
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join([*lines, *([typer.style("not measured:", bold=True), *left_out] if left_out else [])])
