"""``retalkit dub``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from retalkit.cli.options import ConfigFile, Overrides, PluginFiles, Preset


def dub(
    video: Annotated[Path, typer.Argument(help="Video or photo of a face.", show_default=False)],
    speech: Annotated[Path, typer.Argument(help="Sound file, or a video whose sound is taken.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.mp4", help="Where the result goes.")],
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    face: Annotated[
        str | None, typer.Option(metavar="largest|NUMBER", help="Which face to edit; numbers count from 0.")
    ] = None,
    length: Annotated[
        str | None, typer.Option(metavar="speech|video", help="What the output lasts as long as.")
    ] = None,
    extend: Annotated[
        str | None,
        typer.Option(metavar="pingpong|loop|freeze|cut", help="What happens where the speech is the longer one."),
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="cpu|cuda|cuda:N|mps", help="Where networks run.")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where results are kept for the next run (RETALKIT_CACHE, ~/.cache/retalkit)."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace OUT.mp4 if it is there.")] = False,
    plugin: PluginFiles = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Make the lips in VIDEO follow SPEECH and write the result, with SPEECH as its sound."""
    from retalkit.cli.progress import progress
    from retalkit.cli.summary import summary
    from retalkit.config.model import load
    from retalkit.plugins.discovery import discover

    registry = discover(plugin or [])
    direct: list[tuple[str, Any, str]] = [
        (place, int(value) if place == "face" and value.isdecimal() else value, f"--{place}")
        for place, value in (("face", face), ("length", length), ("extend", extend), ("device", device))
        if value is not None
    ]
    read = load(registry, file=config, preset=preset, overrides=[*(overrides or []), *direct])

    from retalkit.pipeline.run import dub as run_dub

    with progress(quiet=quiet) as observer:
        if registry.problems:
            observer.note("some plugins cannot be used: `retalkit plugins` says why")
        record = run_dub(
            video, speech, output, config=read, registry=registry, observer=observer, cache=cache, force=force
        )
    if not quiet:
        typer.echo(summary(record))
