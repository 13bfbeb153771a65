"""``retalkit motion``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retalkit.cli.options import ConfigFile, Language, Overrides, PluginFiles, Preset, Transcript


def motion(
    speech: Annotated[Path, typer.Argument(help="Audio file, or a video with an audio track.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.csv", help="Output motion file (.csv or .json).")
    ],
    driver: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Driver to use. Default: the driver of the configured lip syncer."),
    ] = None,
    transcript: Transcript = None,
    language: Language = None,
    rate: Annotated[
        float, typer.Option(min=1.0, max=1000.0, help="Number of rows per second, 1 to 1000. Default: 100.")
    ] = 100.0,
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Cache directory (default: RETALKIT_CACHE or ~/.cache/retalkit)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite the motion file.")] = False,
    plugin: PluginFiles = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Write the mouth motion predicted for SPEECH to a file that `driver: {use: file, path: OUT.csv}` accepts."""
    from retalkit.cli.options import check_language, transcript_options
    from retalkit.cli.progress import progress
    from retalkit.config.model import load
    from retalkit.plugins.discovery import discover

    registry = discover(plugin or [])
    configuration = load(registry, file=config, preset=preset, overrides=overrides or [])

    from retalkit.media.motion_files import check_motion_output, write_motion
    from retalkit.paths import reserved
    from retalkit.pipeline.motion import motion as predict
    from retalkit.pipeline.motion import plan_motion

    check_motion_output(output, force=force, inputs=(speech,))
    options = transcript_options(transcript, language)
    _, planned = plan_motion(configuration, driver, options, registry)
    check_language(language, planned.config)
    check_motion_output(output, force=force, inputs=planned.config.files().values())
    with reserved(output), progress(quiet=quiet) as observer:
        table = predict(
            speech,
            config=configuration,
            driver=driver,
            options=options,
            rate=rate,
            registry=registry,
            observer=observer,
            cache=cache,
        )
        write_motion(output, table)
    if not quiet:
        typer.echo(f"{output}: {len(table.times)} rows, {table.times[-1]:.2f} s")
