"""``retalkit plugins``: every stage and metric that was found, and what is wrong with those that were not."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from retalkit.cli.options import PluginFiles


def plugins(
    kind: Annotated[
        str | None, typer.Option("--kind", "-k", metavar="KIND", help="Only stages of this kind, such as enhancer.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """List every stage and metric found, where it comes from, and whether it can run here."""
    from retalkit.availability import availability, missing_of_metric
    from retalkit.discovery import discover, nearest
    from retalkit.errors import ConfigError
    from retalkit.stages import StageKind

    kinds = [entry.value for entry in StageKind]
    if kind is not None and kind not in kinds:
        raise ConfigError(f"--kind: '{kind}' is no kind of stage{nearest(kind, kinds)}; kinds: {', '.join(kinds)}")
    registry = discover(plugin or [])
    stages: list[dict[str, Any]] = [
        {
            "kind": found.spec.kind.value,
            "name": found.spec.name,
            "use": use,
            "summary": found.spec.summary,
            "package": found.package,
            "package_version": found.package_version,
            "version": found.spec.version,
            "licence": found.spec.licence,
            "needs": sorted(found.spec.needs),
            "gives": sorted(found.spec.gives),
            "runs_here": availability(found) is None,
            "reason": availability(found),
        }
        for stage_kind in StageKind
        for use, found in zip(registry.names(stage_kind), registry.of_kind(stage_kind), strict=True)
        if kind in (None, stage_kind.value)
    ]
    metrics: list[dict[str, Any]] = [
        {
            "name": found.spec.name,
            "summary": found.spec.summary,
            "measures": [measure.name for measure in found.spec.measures],
            "source": found.spec.source,
            "package": found.package,
            "package_version": found.package_version,
            "version": found.spec.version,
            "licence": found.spec.licence,
            "needs": sorted(found.spec.needs),
            "runs_here": missing_of_metric(found) is None,
            "reason": missing_of_metric(found),
        }
        for found in registry.metrics
        if kind is None
    ]
    problems = [{"owner": problem.owner, "reason": problem.reason} for problem in registry.problems]
    if as_json:
        typer.echo(json.dumps({"stages": stages, "metrics": metrics, "problems": problems}, indent=2))
        return
    for shown in kinds:
        of_kind = [stage for stage in stages if stage["kind"] == shown]
        if of_kind:
            typer.echo(typer.style(shown, bold=True))
        for stage in of_kind:
            _show(stage)
    if metrics:
        typer.echo(typer.style("metric", bold=True))
    for metric in metrics:
        _show_metric(metric)
    if problems:
        typer.echo(typer.style("problems", bold=True))
    for problem in problems:
        typer.echo(f"  {problem['owner']}: {problem['reason']}")


def _show(stage: dict[str, Any]) -> None:
    needs, gives = (", ".join(stage[side]) or "nothing" for side in ("needs", "gives"))
    runs = "runs here" if stage["runs_here"] else f"cannot run here: {stage['reason']}"
    typer.echo(f"  {typer.style(stage['use'], bold=True)}: {stage['summary']}")
    typer.echo(f"      {stage['package']} {stage['package_version']}, {stage['licence']}; {runs}")
    typer.echo(f"      needs {needs}; gives {gives}")


def _show_metric(metric: dict[str, Any]) -> None:
    runs = "runs here" if metric["runs_here"] else f"cannot run here: {metric['reason']}"
    typer.echo(f"  {typer.style(metric['name'], bold=True)}: {metric['summary']}")
    typer.echo(f"      {metric['package']} {metric['package_version']}, {metric['licence']}; {runs}")
    typer.echo(f"      gives {', '.join(metric['measures'])}")
