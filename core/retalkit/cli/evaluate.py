"""Commands ``retalkit evaluate VIDEO`` and ``retalkit evaluate speech-to-mouth CLIP...``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from retalkit.cli import evaluate_video
from retalkit.cli.options import ConfigFile, Overrides, PluginFiles, Preset

if TYPE_CHECKING:
    from retalkit.motion_eval.corpus_report import CorpusReport, SubsetScores
    from retalkit.motion_eval.corpus_scores import CorpusScores
    from retalkit.motion_eval.report import Report, SkippedClip


_VIDEO = "video"


class _DefaultToVideo(TyperGroup):
    """Command group that parses ``evaluate talk.mp4`` as ``evaluate video talk.mp4``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [_VIDEO, *args]
        return super().parse_args(ctx, args)


def application() -> typer.Typer:
    """Return the command group ``evaluate``."""
    summary = "Evaluate a finished video (`retalkit evaluate VIDEO`) or one component of the pipeline."
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
        list[Path] | None,
        typer.Argument(
            metavar="[CLIP...]", help="Videos in which the visible person speaks the audio track.", show_default=False
        ),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Directory with a corpus of lip motion (index.csv, lips.npz, audio), evaluated instead of CLIP.",
        ),
    ] = None,
    driver: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Driver to evaluate. Default: the driver of the configured lip syncer."),
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
    """Compare the mouth motion that a driver predicts from audio with the measured lip motion of the speaker."""
    from retalkit.errors import ConfigError

    if bool(clips) == (corpus is not None):
        wrong = "Missing argument 'CLIP...'" if corpus is None else "CLIP and --corpus cannot be combined"
        raise ConfigError(f"{wrong}; pass either clips or --corpus FOLDER", code="missing-argument")
    from retalkit.cli.progress import progress
    from retalkit.config.model import load
    from retalkit.plugins.discovery import discover

    registry = discover(plugin or [])
    configuration = load(registry, file=config, preset=preset, overrides=overrides or [])

    from retalkit.motion_eval.corpus_report import evaluate_corpus
    from retalkit.motion_eval.report import evaluate
    from retalkit.pipeline.plan import choose_driver, plan, plan_driver
    from retalkit.stages import Runtime
    from retalkit.storage.cache import Cache, default_folder

    chosen = plan(configuration, registry)
    measured = plan_driver(choose_driver(chosen, driver), registry, "--driver")
    runtime = Runtime(device=configuration.device, precision=configuration.precision, threads=configuration.threads)
    name, made = measured.found.spec.name, measured.make(runtime)
    store = Cache(cache if cache is not None else default_folder())
    with progress(quiet=quiet) as observer:
        if corpus is not None:
            found = evaluate_corpus(corpus, name, made, chosen, store, observer)
            table = _corpus_table(found)
        else:
            found = evaluate(clips or [], name, made, chosen, store, observer)
            table = _table(found)
    typer.echo(json.dumps(found.plain(), indent=2) if as_json else table)


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
    rest = ", ".join(f"{name} {_percent(each.at_rest)}" for name, each in report.background.items())
    return "\n".join(
        [
            *_aligned(rows),
            "offset: delay of the lips relative to the audio in frames of 0.04 s, estimated per clip and compensated",
            "max: largest r within 3 frames of the compensated delay",
            "chance r: opening and width r of unrelated motion after the same delay compensation",
            f"frames with the mouth at rest without speech: {rest}",
            *_skipped(report.skipped),
        ]
    )


def _corpus_table(report: CorpusReport) -> str:
    """Format corpus scores with one line per fold and one line for the mean, for all clips and for the clear clips."""
    lines: list[str] = []
    for title, scores in (("all clips", report.all), ("clear clips of 5 s or more", report.clear)):
        if scores is None:
            continue
        minutes = scores.seconds / 60.0
        lines.append(f"{title}: {scores.mean.clips}, {scores.speakers} speakers, {minutes:.1f} min")
        rows: list[tuple[str, ...]] = [_CORPUS_COLUMNS]
        rows += [(f"fold {number}", *_corpus_cells(fold)) for number, fold in enumerate(scores.folds, 1)]
        rows.append(("mean of folds", *_corpus_cells(scores.mean)))
        lines += _aligned(rows)
        intervals = [_with_interval(*each) for each in _intervals(scores)]
        lines.append(f"95% CI from resampled speakers: opening {intervals[0]}, width {intervals[1]}")
        lines.append("")
    lines.append(
        "folds: no speaker occurs in more than one fold\n"
        "lag: delay of the lips relative to the predicted motion after compensation of the corpus offsets"
    )
    return "\n".join([*lines, *_skipped(report.skipped)])


_CORPUS_COLUMNS = ("", "clips", "opening r", "width r", "lag", "contact recall", "contact precision")


def _corpus_cells(scores: CorpusScores) -> tuple[str, ...]:
    lag = f"{1000 * scores.lag:+.0f} ms" if math.isfinite(scores.lag) else "-"
    r = (f"{scores.clips}", _number(scores.opening), _number(scores.width))
    return (*r, lag, _percent(scores.recall), _percent(scores.precision))


def _intervals(scores: SubsetScores) -> list[tuple[float, tuple[float, float]]]:
    return [(scores.mean.opening, scores.opening_interval), (scores.mean.width, scores.width_interval)]


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _skipped(skipped: Sequence[SkippedClip]) -> list[str]:
    return [f"skipped clips: {len(skipped)}", *(f"  {each.reason}" for each in skipped)] if skipped else []


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _with_interval(value: float, edges: tuple[float, float]) -> str:
    return f"{_number(value)} ({_number(edges[0])} to {_number(edges[1])})"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%" if math.isfinite(value) else "-"
