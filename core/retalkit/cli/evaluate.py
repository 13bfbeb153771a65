"""``retalkit evaluate VIDEO`` and ``retalkit evaluate speech-to-mouth CLIP...``."""

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


class _VideoUnlessNamed(TyperGroup):
    """``evaluate talk.mp4`` means ``evaluate video talk.mp4``: a first word that is no command is a video."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [_VIDEO, *args]
        return super().parse_args(ctx, args)


def application() -> typer.Typer:
    """The command group ``evaluate``."""
    text = "Measure a finished video (`retalkit evaluate VIDEO`), or a part of the pipeline."
    app = typer.Typer(help=text, rich_markup_mode=None, cls=_VideoUnlessNamed)
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
        typer.Argument(metavar="CLIP...", help="Videos whose sound belongs to the mouth.", show_default=False),
    ],
    driver: Annotated[str, typer.Option(metavar="NAME", help="Which driver: model or bands.")] = "model",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where tracked faces are kept (RETALKIT_CACHE, ~/.cache/retalkit)."),
    ] = None,
    plugin: PluginFiles = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Compare the mouth that a driver makes of each CLIP's own sound with the lips that the clip shows."""
    from retalkit.cli.progress import progress
    from retalkit.config.model import load
    from retalkit.plugins.discovery import discover

    registry = discover(plugin or [])
    spec = registry.driver(driver).spec
    read = load(registry, file=config, preset=preset, overrides=overrides or [])

    from retalkit.motion_eval.report import evaluate
    from retalkit.pipeline.plan import plan
    from retalkit.storage.cache import Cache, default_folder

    with progress(quiet=quiet) as observer:
        store = Cache(cache if cache is not None else default_folder())
        report = evaluate(clips, driver, spec.make(), plan(read, registry), store, observer)
    typer.echo(json.dumps(report.plain(), indent=2) if as_json else _text(report))


def _text(report: Report) -> str:
    rows = [("clip", "offset", "opening r (95%)", "best", "width r (95%)", "best", "chance", "closures found", "right")]
    for scores in report.clips:
        found = scores.agreement
        rows.append(
            (
                scores.clip,
                f"{found.offset:+d}",
                _with_interval(found.opening, scores.opening_interval),
                _number(found.best_opening),
                _with_interval(found.width, scores.width_interval),
                _number(found.best_width),
                f"{_number(found.chance_opening)} {_number(found.chance_width)}",
                f"{found.found_closures} of {found.lip_closures}",
                f"{found.right_closures} of {found.asked_closures}",
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
            _share(report.recall),
            _share(report.precision),
        )
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rest = ", ".join(f"{name} {_share(each.at_rest)}" for name, each in report.background.items())
    return "\n".join(
        [
            *lines,
            "offset: frames of 0.04 s by which the lips come after the sound, found with the same motion and taken out",
            "chance: opening and width r of unrelated motion whose offset is taken out likewise",
            f"mouth at rest where nobody speaks: {rest}",
        ]
    )


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _with_interval(value: float, edges: tuple[float, float]) -> str:
    return f"{_number(value)} ({_number(edges[0])} to {_number(edges[1])})"


def _share(value: float) -> str:
    return f"{100 * value:.0f}%" if math.isfinite(value) else "-"
