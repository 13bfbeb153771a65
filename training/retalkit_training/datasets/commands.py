"""Commands ``retalkit dataset prepare`` and ``retalkit dataset check``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

SHOWN_NAMES = 10
"""Maximum number of listed names without a video that are printed."""
UNUSABLE = 1
"""Exit code of ``check`` if training cannot work."""


def application() -> typer.Typer:
    """Return the command group ``dataset``."""
    app = typer.Typer(
        help="Prepare and check datasets for training.",
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    app.command("prepare")(prepare)
    app.command("check")(check)
    return app


def prepare(
    videos: Annotated[
        list[Path],
        typer.Argument(
            metavar="VIDEOS...", help="Videos, or directories in one of the supported layouts.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DATA", help="Directory of the dataset.")],
    layout: Annotated[
        str, typer.Option(metavar="NAME", help="Layout: auto, videos, lrs2, wav2lip, voxceleb, hdtf or photos.")
    ] = "auto",
    speakers: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Speakers of the videos: CSV file with the columns name and speaker."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Number of processes.")] = 1,
    shortest: Annotated[int, typer.Option(min=5, help="Minimum length of a clip in frames.")] = 16,
    longest: Annotated[int, typer.Option(min=5, help="Maximum length of a clip in frames.")] = 250,
    chin: Annotated[
        float,
        typer.Option(
            min=0, max=0.5, help="Downward extension of the face box as a fraction of its height, as lip_syncer.chin."
        ),
    ] = 0.08,
    smallest_face: Annotated[float, typer.Option(min=0, help="Minimum width of the face in pixels.")] = 64.0,
    largest_yaw: Annotated[float, typer.Option(min=1, help="Maximum yaw of the head in degrees.")] = 45.0,
    quality_filter: Annotated[
        bool, typer.Option("--filter/--no-filter", help="Leave out small, blurred and turned faces.")
    ] = True,
    correct_offset: Annotated[
        bool,
        typer.Option("--correct-offset/--keep-offset", help="Remove the estimated delay between lips and audio."),
    ] = True,
    references: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Editor of additional reference faces with the canonical expression, for L-Net: none, neutral_warp or "
            "dnet.",
        ),
    ] = "none",
    restore: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Restorer of the 384-pixel faces, which are E-Net's targets: none, auto, gpen or gfpgan.",
        ),
    ] = "none",
    validation: Annotated[float, typer.Option(min=0, max=0.9, help="Fraction of the speakers in val.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=0.9, help="Fraction of the speakers in test.")] = 0.1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Make clips for training from VIDEOS. The same command resumes an interrupted call."""
    from retalkit.cli.progress import progress
    from retalkit.errors import ConfigError
    from retalkit.plugins.registry import nearest
    from retalkit_training.datasets.faults import counted
    from retalkit_training.datasets.layouts import LAYOUTS, find_sources, read_speakers, unmatched_names
    from retalkit_training.datasets.prepare import prepare as run
    from retalkit_training.datasets.settings import PrepareSettings, SplitSettings

    if layout not in LAYOUTS:
        raise ConfigError(
            f"--layout: unknown layout '{layout}'; choose one of {', '.join(LAYOUTS)}", code="unknown-layout"
        )
    if shortest > longest:
        raise ConfigError(f"--shortest {shortest} is larger than --longest {longest}", code="invalid-option")
    for option, value in (("references", references), ("restore", restore)):
        allowed = get_args(PrepareSettings.model_fields[option].annotation)
        if value not in allowed:
            raise ConfigError(
                f"--{option}: unknown value '{value}'{nearest(value, allowed)}; choose one of {', '.join(allowed)}",
                code="invalid-option",
            )
    settings = PrepareSettings(
        shortest=shortest,
        longest=longest,
        chin=chin,
        smallest_face=smallest_face,
        largest_yaw=largest_yaw,
        filter=quality_filter,
        correct_offset=correct_offset,
        references=cast("Any", references),
        restore=cast("Any", restore),
    )
    splits = SplitSettings(validation=validation, test=test)
    names = read_speakers(speakers) if speakers is not None else {}
    sources = find_sources(videos, layout, names)
    if not quiet and (absent := unmatched_names(videos, sources, names)):
        listed = ", ".join(absent[:SHOWN_NAMES]) + (", ..." if len(absent) > SHOWN_NAMES else "")
        typer.echo(f"note: no video found for {counted(len(absent), 'listed name')}: {listed}", err=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1" if jobs > 1 else str(os.cpu_count() or 1))
    with progress(quiet=quiet) as observer:
        done = run(sources, output, settings, splits, jobs=jobs, observer=observer)
    if quiet:
        return
    index = done.index
    seconds = sum(clip.frames for clip in index.clips) / 25
    rejected = sum(len(video.rejected) for video in index.videos)
    unusable = sum(bool(video.error) for video in index.videos)
    typer.echo(
        f"{output}: {counted(len(index.clips), 'clip')}, {seconds / 60:.1f} min, {counted(len(index.shards), 'shard')}"
    )
    typer.echo(f"videos: {done.computed} processed, {done.reused} unchanged, {unusable} without clips")
    typer.echo(f"parts left out by the quality filter: {rejected}")
    if index.references != "none":
        typer.echo(f"reference faces: {index.references}")
    if restore != "none":
        reason = f" ({done.unrestored})" if done.unrestored else ""
        typer.echo(f"restoration of the 384-pixel faces: {index.restoration}{reason}")
    if index.without_coefficients:
        typer.echo("no 3DMM coefficients, which only D-Net needs (`retalkit dataset check` prints the reason)")


def check(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Directory of a prepared dataset.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Report faults of a dataset and their effects on training. The exit code is 1 if training cannot work."""
    from retalkit.cli.progress import progress
    from retalkit_training.datasets.check import check as run

    with progress(quiet=quiet) as observer:
        report = run(data, observer=observer)
    typer.echo(json.dumps(report.plain(), indent=2) if as_json else report.text())
    if not report.can_train:
        raise typer.Exit(UNUSABLE)
