"""Command ``retalkit inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from retalkit.cli.options import ConfigFile, Overrides, PluginFiles, Preset


def inspect(
    video: Annotated[Path, typer.Argument(help="Video or still image of a face.", show_default=False)],
    speech: Annotated[
        Path | None,
        typer.Argument(help="Audio file, or a video with an audio track. Default: silence.", show_default=False),
    ] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Output directory. Default: VIDEO's name + _inspect."),
    ] = None,
    cues: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cue sheet (.yaml, .csv, .srt, .vtt or .rttm): who speaks what, and when."),
    ] = None,
    person: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHO[=SPEECH]", help="Person to edit, such as left=anna.wav or 1=ben.wav; may be repeated."
        ),
    ] = None,
    stages: Annotated[
        bool, typer.Option("--stages", help="Also show what each stage makes of frames 1, 50, 100 and 150.")
    ] = False,
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    face: Annotated[
        str | None,
        typer.Option(metavar="largest|NUMBER", help="Face to edit: largest, or an index from 0 at the left."),
    ] = None,
    track: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Audio track of SPEECH that drives the mouth, from 0.")
    ] = None,
    length: Annotated[
        str | None, typer.Option(metavar="speech|video", help="Match the duration of the speech or of the video.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Cache directory (default: RETALKIT_CACHE or ~/.cache/retalkit)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing inspection.")] = False,
    plugin: PluginFiles = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Show what a run would edit, and why not, before rendering: shots, persons, speech, lengths, estimated time.

    Writes inspect.html and inspect.json. The results are cached, so a run that follows does not repeat the analysis.
    """
    from retalkit.cli.progress import progress
    from retalkit.config.model import load
    from retalkit.cues.command_line import sheet_from_options
    from retalkit.plugins.discovery import discover

    sheet = sheet_from_options(speech, cues=cues, start=None, stop=None, persons=person or [])
    registry = discover(plugin or [])
    flags: list[tuple[str, Any, str]] = [
        (key, int(value) if key == "face" and value.isdecimal() else value, f"--{key}")
        for key, value in (("face", face), ("length", length))
        if value is not None
    ]
    flags += [] if track is None else [("speech_track", track, "--track")]
    read = load(registry, file=config, preset=preset, overrides=[*(overrides or []), *flags])
    folder = output if output is not None else video.with_name(f"{video.stem}_inspect")

    from retalkit.inspection.inspect import inspect as run_inspect
    from retalkit.inspection.page import check_folder, summary, write_inspection
    from retalkit.paths import reserved

    check_folder(folder, force)
    with reserved(folder), progress(quiet=quiet) as observer:
        found = run_inspect(
            video, speech, cues=sheet, config=read, registry=registry, observer=observer, cache=cache, stages=stages
        )
        page = write_inspection(found, folder)
    if not quiet:
        typer.echo("\n".join([f"page       {page}", *summary(found)]))
