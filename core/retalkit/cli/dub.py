"""Command ``retalkit dub``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from retalkit.cli.options import ConfigFile, Language, Overrides, PluginFiles, Preset, Transcript


def dub(
    video: Annotated[Path, typer.Argument(help="Video or still image of a face.", show_default=False)],
    speech: Annotated[Path, typer.Argument(help="Audio file, or a video with an audio track.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.mp4", help="Output video.")],
    transcript: Transcript = None,
    language: Language = None,
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    face: Annotated[
        str | None,
        typer.Option(metavar="largest|NUMBER", help="Face to edit: largest, or an index from 0 at the left."),
    ] = None,
    length: Annotated[
        str | None, typer.Option(metavar="speech|video", help="Match the duration of the speech or of the video.")
    ] = None,
    extend: Annotated[
        str | None,
        typer.Option(metavar="pingpong|loop|freeze|cut", help="How to extend the video if the speech is longer."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Draw TEXT on the video, such as 'AI dubbed'. Off by default.")
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="cpu|cuda|cuda:N|mps", help="Device for the networks.")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Cache directory (default: RETALKIT_CACHE or ~/.cache/retalkit)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite OUT.mp4.")] = False,
    plugin: PluginFiles = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Synchronise the lips in VIDEO with SPEECH and write a video with SPEECH as the audio track."""
    from retalkit.cli.options import check_language, transcript_options, transcript_overrides
    from retalkit.cli.progress import progress
    from retalkit.cli.summary import summary
    from retalkit.config.model import load, read_options
    from retalkit.plugins.discovery import discover
    from retalkit.stages import StageKind

    registry = discover(plugin or [])
    flags: list[tuple[str, Any, str]] = [
        (key, int(value) if key == "face" and value.isdecimal() else value, f"--{key}")
        for key, value in (("face", face), ("length", length), ("extend", extend), ("device", device))
        if value is not None
    ]
    if label is not None:
        flags.append(("label.text", label, "--label"))
    given: list[str | tuple[str, Any, str]] = [*(overrides or []), *flags]
    read = load(registry, file=config, preset=preset, overrides=given)
    if options := transcript_options(transcript, language):
        given += transcript_overrides(read, registry, options)
        read = load(registry, file=config, preset=preset, overrides=given)
        syncer = registry.find(StageKind.LIP_SYNCER, read.lip_syncer.use)
        for choice in read_options(syncer, read.lip_syncer).drivers().values():
            check_language(language, read_options(registry.driver(choice.use), choice))

    from retalkit.pipeline.run import dub as run_dub

    with progress(quiet=quiet) as observer:
        if registry.problems:
            observer.note("some plugins cannot be used; run `retalkit plugins` for the reasons")
        record = run_dub(
            video, speech, output, config=read, registry=registry, observer=observer, cache=cache, force=force
        )
    if not quiet:
        typer.echo(summary(record))
