"""Commands ``retalkit config show``, ``schema`` and ``validate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from retalkit.cli.options import ConfigFile, Overrides, PluginFiles, Preset


def application() -> typer.Typer:
    """Return the command group ``config``."""
    app = typer.Typer(help="Print and validate run files.", rich_markup_mode=None)
    app.callback(invoke_without_command=True)(_group)
    app.command("show")(show)
    app.command("schema")(schema)
    app.command("validate")(validate)
    return app


def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def show(
    config: ConfigFile = None, preset: Preset = None, overrides: Overrides = None, plugin: PluginFiles = None
) -> None:
    """Print the complete run configuration as a run file."""
    from retalkit.config.model import effective, load
    from retalkit.config.yaml_io import write
    from retalkit.plugins.discovery import discover

    registry = discover(plugin or [])
    read = load(registry, file=config, preset=preset, overrides=overrides or [])
    typer.echo(write(effective(read, registry)), nl=False)


def schema(plugin: PluginFiles = None) -> None:
    """Print the JSON Schema of run files, with the options of every installed stage."""
    from retalkit.config.schema import json_schema
    from retalkit.plugins.discovery import discover

    typer.echo(json.dumps(json_schema(discover(plugin or [])), indent=2))


def validate(
    file: Annotated[Path, typer.Argument(help="Run file.", show_default=False)],
    plugin: PluginFiles = None,
) -> None:
    """Validate a run file and check that its stages are compatible and can run on this machine."""
    from retalkit.config.model import load
    from retalkit.pipeline.plan import plan
    from retalkit.plugins.discovery import discover

    registry = discover(plugin or [])
    chosen = plan(load(registry, file=file), registry)
    typer.echo(f"{file} is valid: {', '.join(stage.label for stage in chosen.stages)}")
