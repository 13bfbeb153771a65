"""``retalkit new-plugin``."""

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
            help="detector, reconstructor, expression_editor, denoiser, lip_syncer, enhancer or metric.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="The package's folder. Default: ./NAME.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace the files that this command wrote there before.")
    ] = False,
) -> None:
    """Make a plugin package that installs, is found, passes its tests and runs: change it from there."""
    from retalkit.plugins.discovery import discover
    from retalkit.scaffolding.creating import new_plugin as create
    from retalkit.scaffolding.kinds import METRIC

    made = create(name, kind, discover(), folder=output, replace=force)
    typer.echo(f"{made.folder}: {made.kind.name} '{made.names.stage}' in {len(made.files)} files")
    if made.names.distribution != name:
        typer.echo(f"  its name is {made.names.distribution}: packages have lower case and dashes")
    for file in made.files:
        typer.echo(f"  {file}")
    if made.kind.name == METRIC:
        use = f"retalkit evaluate talk.mp4 --metric {made.names.stage}"
    else:
        use = f"retalkit dub talk.mp4 speech.wav -o dubbed.mp4 --set {made.kind.place}={made.names.stage}"
    typer.echo("next:")
    typer.echo(f"  python -m pip install -e {shlex.quote(f'{made.folder}[dev]')}")
    # Not `python -m pytest`: it puts the working folder first, where a file of the same name would hide the package.
    typer.echo(f"  pytest {shlex.quote(str(made.folder))}")
    typer.echo(f"  {use}")
