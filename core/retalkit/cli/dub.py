"""Command ``retalkit dub``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retalkit.cli.options import ConfigFile, Language, Overrides, PluginFiles, Preset, Transcript

if TYPE_CHECKING:
    from retalkit.pipeline.preview import Preview as PreviewPart


def dub(
    context: typer.Context,
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
    track: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Audio track of SPEECH that drives the mouth, from 0.")
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
    sound: Annotated[
        str | None,
        typer.Option(
            metavar="speech|original|FILE",
            help="Sound of the output: speech, original (the speech over the original sound), or a finished mix.",
        ),
    ] = None,
    loudness: Annotated[
        float | None, typer.Option(metavar="LUFS", help="Loudness of the output's sound, such as -16 or -23.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="streams", help="Copy the video's other audio tracks, subtitles, chapters, metadata and timecode."
        ),
    ] = None,
    codec: Annotated[
        str | None, typer.Option(metavar="h264|hevc|prores|ffv1", help="Video codec; see output.codec in run files.")
    ] = None,
    layer: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Also write the edit alone with transparency: a .mov file (ProRes 4444) or a directory of PNG images.",
        ),
    ] = None,
    preview: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Render only a preview of this duration with at most 640 pixels, such as 3 seconds."
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time at the centre of the preview. Default: the start.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of processes. Default: half of the CPU cores, at least 2; a quarter for videos from "
            "1920x1080. Picture and sound do not depend on it.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also print details, such as the encoder and written files.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write progress as JSON lines to stdout.")] = False,
) -> None:
    """Synchronise the lips in VIDEO with SPEECH and write a video with SPEECH as the audio track.

    With --cues, --from, --to or --person, only parts of the video or several people are edited. Everything else and the
    original sound outside the cues stay unchanged.
    """
    from retalkit.cli.options import check_language, transcript_options
    from retalkit.cli.run_report import report_run
    from retalkit.config.model import load, read_options
    from retalkit.config.transcripts import transcript_overrides
    from retalkit.cues.command_line import sheet_from_options
    from retalkit.errors import CueError
    from retalkit.plugins.discovery import discover
    from retalkit.stages import StageKind

    with report_run(quiet=quiet, verbose=verbose, as_json=as_json, command=str(context.obj)) as report:
        sheet = sheet_from_options(speech, cues=cues, start=start, stop=stop, persons=person or [])
        if speech is None and sheet is None:
            raise CueError("there is no speech; pass SPEECH, --cues FILE or --person WHO=SPEECH", code="missing-speech")
        for name, value in (("length", length), ("extend", extend), ("face", face)):
            if sheet is not None and value is not None:
                raise CueError(f"--{name} has no effect with cues; remove the option", code="unused-option")
        registry = discover(plugin or [])
        # `--sound` precedes the overrides, so that --set can change options of the selected sound.
        given: list[str | tuple[str, Any, str]] = [] if sound is None else [("sound", sound, "--sound")]
        given += overrides or []
        flags = {
            "--face": ("face", int(face) if face is not None and face.isdecimal() else face),
            "--length": ("length", length),
            "--extend": ("extend", extend),
            "--track": ("speech_track", track),
            "--device": ("device", device),
            "--label": ("label.text", label),
            "--loudness": ("sound.loudness", loudness),
            "--keep": ("output.keep", keep),
            "--codec": ("output.codec", codec),
        }
        given += [(key, value, flag) for flag, (key, value) in flags.items() if value is not None]
        read = load(registry, file=config, preset=preset, overrides=given)
        if options := transcript_options(transcript, language):
            given += transcript_overrides(read, registry, options)
            read = load(registry, file=config, preset=preset, overrides=given)
            syncer = registry.find(StageKind.LIP_SYNCER, read.lip_syncer.use)
            for choice in read_options(syncer, read.lip_syncer).drivers().values():
                check_language(language, read_options(registry.driver(choice.use), choice))

        from retalkit.batch.run_helpers import LocalRunHelpers
        from retalkit.pipeline.run import dub as run_dub

        part = _preview(preview, at)

        if registry.problems:
            report.observer.note("some plugins cannot be used; run `retalkit plugins` for the reasons")
        with LocalRunHelpers(processes, plugin or ()) as helpers:
            record = run_dub(
                video,
                speech,
                output,
                cues=sheet,
                config=read,
                registry=registry,
                observer=report.observer,
                cache=cache,
                force=force,
                layer=layer,
                preview=part,
                cancellation=report.stopped,
                other_inputs=[path for path in (config, cues, transcript, *(plugin or ())) if path is not None],
                helpers=helpers,
            )
        report.result(record)


def _preview(seconds: float | None, at: str | None) -> PreviewPart | None:
    """Return the preview that ``--preview`` and ``--at`` describe, or None. Raises OutputError or CueError."""
    from retalkit.cues.times import parse_time
    from retalkit.errors import CueError, OutputError
    from retalkit.pipeline.preview import Preview

    if seconds is None:
        if at is not None:
            raise OutputError("--at: there is no preview; add --preview SECONDS or remove --at", code="unused-option")
        return None
    try:
        return Preview(seconds=seconds, at=None if at is None else parse_time(at))
    except ValueError as error:
        raise CueError(f"--at: {error}", code="invalid-time") from error
