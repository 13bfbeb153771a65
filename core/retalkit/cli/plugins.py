"""Command ``retalkit plugins``, which lists installed components, commands and plugin errors."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from retalkit.cli.options import PluginFiles

SLOW = 1.0
"""Import time in seconds above which a plugin is listed as slow."""


def plugins(
    kind: Annotated[
        str | None,
        typer.Option("--kind", "-k", metavar="KIND", help="List only stages of this kind, such as enhancer."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """List all installed stages, metrics, drivers, finishers and commands with their packages and availability."""
    from retalkit.errors import ConfigError
    from retalkit.plugins.availability import (
        availability,
        metric_availability,
        missing_command_packages,
        missing_driver_packages,
        recogniser_availability,
    )
    from retalkit.plugins.discovery import discover
    from retalkit.plugins.registry import nearest
    from retalkit.stages import StageKind

    kinds = [entry.value for entry in StageKind]
    if kind is not None and kind not in kinds:
        raise ConfigError(
            f"--kind: unknown stage kind '{kind}'{nearest(kind, kinds)}; kinds: {', '.join(kinds)}", code="unknown-kind"
        )
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
            "digital_source_type": found.spec.output_source_type,
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
            "runs_here": metric_availability(found) is None,
            "reason": metric_availability(found),
        }
        for found in registry.metrics
        if kind is None
    ]
    drivers, finishers = (
        [
            {
                "name": found.spec.name,
                "summary": found.spec.summary,
                "package": found.package,
                "package_version": found.package_version,
                "runs_here": missing_driver_packages(found) is None,
                "reason": missing_driver_packages(found),
            }
            for found in components
            if kind is None
        ]
        for components in (registry.drivers, registry.finishers)
    )
    recognisers = [
        {
            "name": found.spec.name,
            "summary": found.spec.summary,
            "package": found.package,
            "package_version": found.package_version,
            "licence": found.spec.licence,
            "runs_here": recogniser_availability(found) is None,
            "reason": recogniser_availability(found),
        }
        for found in registry.recognisers
        if kind is None
    ]
    commands = [
        {
            "name": found.spec.name,
            "summary": found.spec.summary,
            "package": found.package,
            "package_version": found.package_version,
            "runs_here": missing_command_packages(found) is None,
            "reason": missing_command_packages(found),
        }
        for found in registry.commands
        if kind is None
    ]
    problems = [{"owner": problem.owner, "reason": problem.reason} for problem in registry.problems]
    slow = [
        {"owner": owner, "seconds": round(seconds, 1)}
        for owner, seconds in registry.import_seconds.items()
        if seconds > SLOW
    ]
    if as_json:
        listed = {
            "stages": stages,
            "metrics": metrics,
            "drivers": drivers,
            "recognisers": recognisers,
            "finishers": finishers,
            "commands": commands,
            "problems": problems,
            "slow": slow,
        }
        typer.echo(json.dumps(listed, indent=2))
        return
    for heading in kinds:
        of_kind = [stage for stage in stages if stage["kind"] == heading]
        _print_heading(heading, of_kind)
        for stage in of_kind:
            _print_stage(stage)
    _print_heading("metric", metrics)
    for metric in metrics:
        _print_metric(metric)
    others = {"driver": drivers, "recogniser": recognisers, "finisher": finishers, "command": commands}
    for heading, components in others.items():
        _print_heading(heading, components)
        for component in components:
            typer.echo(f"  {typer.style(component['name'], bold=True)}: {component['summary']}")
            typer.echo(f"      {component['package']} {component['package_version']}; {_runs(component)}")
    _print_heading("problems", problems)
    for problem in problems:
        typer.echo(f"  {problem['owner']}: {problem['reason']}")
    _print_heading("slow", slow)
    for late in slow:
        typer.echo(f"  {late['owner']}: takes {late['seconds']} s to import, which delays every command")


def _print_heading(text: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        typer.echo(typer.style(text, bold=True))


def _runs(component: dict[str, Any]) -> str:
    return "runs here" if component["runs_here"] else f"cannot run here: {component['reason']}"


def _print_stage(stage: dict[str, Any]) -> None:
    needs, gives = (", ".join(stage[side]) or "nothing" for side in ("needs", "gives"))
    typer.echo(f"  {typer.style(stage['use'], bold=True)}: {stage['summary']}")
    typer.echo(f"      {stage['package']} {stage['package_version']}, {stage['licence']}; {_runs(stage)}")
    typer.echo(f"      requires {needs}; provides {gives}")


def _print_metric(metric: dict[str, Any]) -> None:
    typer.echo(f"  {typer.style(metric['name'], bold=True)}: {metric['summary']}")
    typer.echo(f"      {metric['package']} {metric['package_version']}, {metric['licence']}; {_runs(metric)}")
    typer.echo(f"      computes {', '.join(metric['measures'])}")
