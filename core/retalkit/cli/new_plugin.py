"""Command ``retalkit new-plugin``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of the new package, such as my-enhancer.", show_default=False)],
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            "-k",
            metavar="KIND",
            help="Plugin kind: detector, reconstructor, expression_editor, denoiser, lip_syncer, enhancer or metric.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Package directory. Default: ./NAME.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Overwrite files from an earlier call of this command.")
    ] = False,
) -> None:
    """Create an installable plugin package with a working stage or metric and its tests."""
    from retalkit.plugins.discovery import discover
    from retalkit.scaffolding.kinds import METRIC
    from retalkit.scaffolding.new_plugin import new_plugin as create

    made = create(name, kind, discover(), folder=output, replace=force)
    typer.echo(f"{made.folder}: {made.kind.name} '{made.names.stage}' in {len(made.files)} files")
    if made.names.distribution != name:
        typer.echo(f"  package name: {made.names.distribution} (package names use lower-case letters and hyphens)")
    for file in made.files:
        typer.echo(f"  {file}")
    if made.kind.name == METRIC:
        use = f"retalkit evaluate talk.mp4 --metric {made.names.stage}"
    else:
        use = f"retalkit dub talk.mp4 speech.wav -o dubbed.mp4 --set {made.kind.config_path}={made.names.stage}"
    typer.echo("next steps:")
    typer.echo(f"  python -m pip install -e {shlex.quote(f'{made.folder}[dev]')}")
    # Do not use `python -m pytest`, because that command inserts the working directory at the start of sys.path, where
    # a file could shadow the package.
    typer.echo(f"  pytest {shlex.quote(str(made.folder))}")
    typer.echo(f"  {use}")
