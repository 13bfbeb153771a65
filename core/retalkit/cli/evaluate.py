"""Commands ``retalkit evaluate VIDEO`` and ``retalkit evaluate speech-to-mouth CLIP...``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from retalkit.cli import evaluate_video
from retalkit.cli.options import ConfigFile, Overrides, PluginFiles, Preset

if TYPE_CHECKING:
    from retalkit.motion_eval.report import Report


_VIDEO = "video"


class _DefaultToVideo(TyperGroup):
    """Command group that parses ``evaluate talk.mp4`` as ``evaluate video talk.mp4``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [_VIDEO, *args]
        return super().parse_args(ctx, args)


def application() -> typer.Typer:
    """Return the command group ``evaluate``."""
    summary = "Measure a finished video (`retalkit evaluate VIDEO`) or one component of the pipeline."
    app = typer.Typer(help=summary, rich_markup_mode=None, cls=_DefaultToVideo)
    app.callback(invoke_without_command=True)(_group)
    app.command(_VIDEO)(evaluate_video.video)
    app.command("speech-to-mouth")(speech_to_mouth)
    return app


def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def speech_to_mouth(
    clips: Annotated[
        list[Path],
        typer.Argument(
            metavar="CLIP...", help="Videos in which the visible person speaks the audio track.", show_default=False
        ),
    ],
    driver: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Driver to measure. Default: the driver of the configured lip syncer."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Cache for tracked faces (default: RETALKIT_CACHE, ~/.cache/retalkit)."),
    ] = None,
    plugin: PluginFiles = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Compare the mouth motion that a driver predicts from each CLIP's audio with the lips tracked in the clip."""
    from retalkit.cli.progress import progress
    from retalkit.config.model import load
    from retalkit.plugins.discovery import discover

    registry = discover(plugin or [])
    configuration = load(registry, file=config, preset=preset, overrides=overrides or [])

    from retalkit.errors import PlanError
    from retalkit.motion_eval.report import evaluate
    from retalkit.pipeline.plan import plan, plan_driver
    from retalkit.plugins.specs import DriverChoice
    from retalkit.stages import Runtime
    from retalkit.storage.cache import Cache, default_folder

    chosen = plan(configuration, registry)
    configured = chosen.lip_syncer.config.drivers().values()
    choice = next((each for each in configured if driver in (None, each.use)), None)
    if choice is None and driver is None:
        raise PlanError(f"{chosen.lip_syncer.label} uses no driver; name one with --driver", code="missing-driver")
    measured = plan_driver(choice or DriverChoice(use=str(driver)), registry, "--driver")
    runtime = Runtime(device=configuration.device, precision=configuration.precision, threads=configuration.threads)
    with progress(quiet=quiet) as observer:
        store = Cache(cache if cache is not None else default_folder())
        report = evaluate(clips, measured.found.spec.name, measured.make(runtime), chosen, store, observer)
    typer.echo(json.dumps(report.plain(), indent=2) if as_json else _table(report))


_COLUMNS = (
    *("clip", "offset", "opening r (95% CI)", "max", "width r (95% CI)", "max", "chance r", "closure recall"),
    "closure precision",
)


def _table(report: Report) -> str:
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for scores in report.clips:
        clip = scores.agreement
        rows.append(
            (
                scores.clip,
                f"{clip.offset:+d}",
                _with_interval(clip.opening, scores.opening_interval),
                _number(clip.best_opening),
                _with_interval(clip.width, scores.width_interval),
                _number(clip.best_width),
                f"{_number(clip.chance_opening)} {_number(clip.chance_width)}",
                f"{clip.recalled_closures} of {clip.lip_closures}",
                f"{clip.correct_closures} of {clip.predicted_closures}",
            )
        )
    rows.append(
        (
            "all",
            "",
            _with_interval(report.opening, report.opening_interval),
            _number(report.best_opening),
            _with_interval(report.width, report.width_interval),
            _number(report.best_width),
            f"{_number(report.chance_opening)} {_number(report.chance_width)}",
            _percent(report.recall),
            _percent(report.precision),
        )
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rest = ", ".join(f"{name} {_percent(each.at_rest)}" for name, each in report.background.items())
    return "\n".join(
        [
            *lines,
            "offset: delay of the lips relative to the audio in frames of 0.04 s, estimated per clip and compensated",
            "max: largest r within 3 frames of the compensated delay",
            "chance r: opening and width r of unrelated motion after the same delay compensation",
            f"frames with the mouth at rest without speech: {rest}",
        ]
    )


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _with_interval(value: float, edges: tuple[float, float]) -> str:
    return f"{_number(value)} ({_number(edges[0])} to {_number(edges[1])})"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%" if math.isfinite(value) else "-"
