"""Command ``retalkit dub``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from retalkit.cli.options import ConfigFile, Language, Overrides, PluginFiles, Preset, Transcript


def dub(
    video: Annotated[Path, typer.Argument(help="Video or still image of a face.", show_default=False)],
    speech: Annotated[
        Path | None,
        typer.Argument(help="Audio file, or a video with an audio track. Optional with cues.", show_default=False),
    ] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.mp4", help="Output video.")],
    cues: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cue sheet (.yaml, .csv, .srt, .vtt or .rttm): who speaks what, and when."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Edit only from this time, such as 12.5 or 1:02.5.")
    ] = None,
    stop: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Edit only until this time.")] = None,
    person: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHO[=SPEECH]",
            help="Person to edit, such as left=anna.wav, 1=ben.wav or anna.jpg=anna.wav; may be repeated. With --cues: "
            "left=NAME.",
        ),
    ] = None,
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
    """Synchronise the lips in VIDEO with SPEECH and write a video with SPEECH as the audio track.

    With --cues, --from, --to or --person, only parts of the video or several people are edited. Everything else and the
    original sound outside the cues stay unchanged.
    """
    from retalkit.cli.options import check_language, transcript_options, transcript_overrides
    from retalkit.cli.progress import progress
    from retalkit.cli.summary import summary
    from retalkit.config.model import load, read_options
    from retalkit.cues.command_line import sheet_from_options
    from retalkit.errors import CueError
    from retalkit.plugins.discovery import discover
    from retalkit.stages import StageKind

    sheet = sheet_from_options(speech, cues=cues, start=start, stop=stop, persons=person or [])
    if speech is None and sheet is None:
        raise CueError("there is no speech; pass SPEECH, --cues FILE or --person WHO=SPEECH", code="missing-speech")
    for name, value in (("length", length), ("extend", extend), ("face", face)):
        if sheet is not None and value is not None:
            raise CueError(f"--{name} has no effect with cues; remove the option", code="unused-option")
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
            video,
            speech,
            output,
            cues=sheet,
            config=read,
            registry=registry,
            observer=observer,
            cache=cache,
            force=force,
        )
    if not quiet:
        typer.echo(summary(record))
