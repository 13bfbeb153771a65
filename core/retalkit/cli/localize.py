"""Command ``retalkit localize``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retalkit.cli import batch_options as shared
from retalkit.cli.options import ConfigFile, Overrides, PluginFiles, Preset

if TYPE_CHECKING:
    from retalkit.batch.jobs import Row


def localize(
    context: typer.Context,
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="Video or still image of a face.", show_default=False)],
    *,
    speech: Annotated[
        list[str] | None,
        typer.Option(metavar="LANGUAGE=FILE", help="Speech in one language, such as de=de.wav; may be repeated."),
    ] = None,
    cues: Annotated[
        list[str] | None,
        typer.Option(metavar="LANGUAGE=FILE", help="Cue sheet for one language; may be repeated."),
    ] = None,
    transcript: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LANGUAGE=FILE",
            help="Transcript of the speech in one language (.txt, .srt or .vtt). Requires retalkit[transcript].",
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(metavar="LANGUAGE=FILE", help="Video of the speaker of one language, for the gate `lips`."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="TEMPLATE", help="Outputs, such as 'out/{language}.mp4'.")
    ],
    jobs: shared.Jobs = None,
    executor: shared.ExecutorName = "local",
    address: shared.Address = None,
    results: shared.Results = None,
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    gate: shared.GateOptions = None,
    retry_failed: shared.RetryFailed = False,
    dry_run: shared.DryRun = False,
    cache: shared.CacheFolder = None,
    force: shared.Force = False,
    plugin: PluginFiles = None,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    as_json: shared.AsJson = False,
) -> None:
    """Dub one video into several languages. The video is analysed once.

    Exit code: 0 if all jobs are done, 2 if the jobs or options are invalid and nothing was computed, 3 if a job failed,
    and 4 if no job failed but at least one needs review.
    """
    from retalkit.batch.placeholders import fixed_folder
    from retalkit.paths import expand_home

    given = {"speech": speech, "cues": cues, "transcript": transcript, "reference": reference}
    shared.execute(
        str(context.obj),
        rows=language_rows(video, output, {key: values or [] for key, values in given.items()}),
        results=results if results is not None else expand_home(fixed_folder(output)) / f"{video.stem}-results",
        jobs=jobs,
        executor=executor,
        address=address,
        config=config,
        preset=preset,
        overrides=overrides or [],
        gates=gate or [],
        cache=cache,
        retry_failed=retry_failed,
        force=force,
        plugins=plugin or [],
        dry_run=dry_run,
        quiet=quiet,
        verbose=verbose,
        as_json=as_json,
    )


def language_rows(video: Path, output: str, given: dict[str, Sequence[str]]) -> list[Row]:
    """Return one row of a job list per language.

    ``given``: mapping from option to values ``LANGUAGE=FILE``. Raises BatchError if a value is invalid.
    """
    from retalkit.batch.jobs import Row
    from retalkit.errors import BatchError

    rows: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    for option, texts in given.items():
        for text in texts:
            language, equals, file = (part.strip() for part in text.partition("="))
            if not (language and equals and file):
                example = f"expected LANGUAGE=FILE, such as de=de.{'wav' if option == 'speech' else 'yaml'}"
                raise BatchError(f"--{option} {text}: {example}", code="invalid-option")
            if language not in rows and option in ("transcript", "reference"):
                message = f"--{option} {text}: there is no speech for '{language}'; add --speech {language}=FILE"
                raise BatchError(message, code="missing-speech")
            row = rows.setdefault(language, {"video": str(video), "language": language, "output": output})
            origins.setdefault(language, f"--{option} {language}")
            if option in row:
                message = f"--{option} {text}: the language '{language}' is given twice; remove one of the options"
                raise BatchError(message, code="duplicate-name")
            # Braces in file names are not placeholders.
            row[option] = file.replace("{", "{{").replace("}", "}}")
    if not rows:
        raise BatchError(
            "there is no speech; pass --speech LANGUAGE=FILE or --cues LANGUAGE=FILE", code="missing-speech"
        )
    return [Row(origin=origins[language], values=values) for language, values in rows.items()]
