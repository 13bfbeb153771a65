"""Commands ``retalkit train``. Each command imports torch when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from retalkit_training.loop.config import LoopConfig
    from retalkit_training.loop.data import TrainingData
    from retalkit_training.loop.trainer import DryRun as Cost
    from retalkit_training.loop.trainer import Progress
    from retalkit_training.losses.config import LossConfig

SUMMARIES = {
    "syncnet": "Train the lip-sync expert, which supervises L-Net and Wav2Lip.",
    "lnet": "Train L-Net, which generates the lower half of the face from speech.",
    "dnet": "Train D-Net, which edits the expression of a face.",
    "enet": "Train E-Net, which generates a 384-pixel face from L-Net's face.",
    "wav2lip": "Train Wav2Lip's generator and its quality discriminator.",
}
"""Help text of each trainer's command that uses prepared datasets."""
SPEECH_TO_MOUTH = "speech-to-mouth"
TRAINERS = {
    **SUMMARIES,
    SPEECH_TO_MOUTH: "Train the driver `model`, which predicts mouth motion from speech. All steps run by default.",
}
"""Help text of each trainer's command."""
CHIN_TRAINERS = ("lnet", "wav2lip", "enet")
"""Trainers whose networks generate the face box that ``lip_syncer.chin`` extends."""

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Training file (YAML); see `retalkit train config`."),
]
DataFolder = Annotated[
    Path | None, typer.Option("--data", metavar="DATA", help="Dataset of `retalkit dataset prepare`.")
]
RunFolder = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="RUN", help="Directory of the run. The same command resumes a stopped run."),
]
Initial = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE", help="Start from the weights in FILE, or from `published` weights."),
]
PERSON_OPTION = typer.Option(
    None,
    "--person",
    metavar="CLIP",
    help="Video of one person, instead of --data: fine-tune the weights of --from. The clip is prepared in RUN.",
)
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="seed (the report), published (the published code), or reproduction (dnet only).",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one option, such as batch_size=8; may be repeated."),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu or cuda.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Run a few steps, print memory and steps per second, and write nothing.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
TrainerName = Annotated[str, typer.Argument(metavar="TRAINER", help=", ".join(TRAINERS))]
TinyPreset = Annotated[str | None, typer.Option("--preset", metavar="NAME", help="tiny: minimal sizes, for tests.")]
LipsFolder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="LIPS",
        help="Corpus of real lips (default: ../shared/lips). Without one, only the weights for synthetic speech are "
        "trained.",
    ),
]
Steps = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="STEP", help="Run one step: corpus, synthetic, real, live, encoder or noise; may be repeated."
    ),
]


def application() -> typer.Typer:
    """Return the commands of ``retalkit train``."""
    app = typer.Typer(
        name="train",
        help="Train the networks, and export trained networks.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, summary in SUMMARIES.items():
        app.command(name, help=summary)(_trainer(name))
    app.command(SPEECH_TO_MOUTH, help=TRAINERS[SPEECH_TO_MOUTH])(speech_to_mouth)
    app.command("export")(export)
    app.command("compare-sources")(compare_sources)
    app.command("config")(config)
    app.command("schema")(schema)
    return app


def _trainer(name: str) -> Callable[..., None]:
    # The expert cannot learn from one person. A hidden option is still refused with this reason.
    person_option = typer.Option(None, "--person", hidden=True) if name == "syncnet" else PERSON_OPTION

    def command(
        data: DataFolder = None,
        output: RunFolder = None,
        person: Path | None = person_option,
        config: ConfigFile = None,
        preset: PresetName = None,
        overrides: Overrides = None,
        initial: Initial = None,
        device: Device = "auto",
        dry_run: DryRun = False,
        quiet: Quiet = False,
    ) -> None:
        changes = [*(overrides or []), *([] if initial is None else [f"initial={initial}"])]
        train(name, data, output, config, preset, changes, device, person=person, dry_run=dry_run, quiet=quiet)

    return command


def train(
    name: str,
    data: Path | None,
    output: Path | None,
    config: Path | None,
    preset: str | None,
    overrides: list[str],
    device: str,
    *,
    person: Path | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> None:
    """Run one trainer with the dataset ``data``, or with the clip ``person``. Raises RetalkitError."""
    from retalkit.errors import ConfigError, InputError
    from retalkit.paths import missing
    from retalkit_training.tasks.config import GeneratorConfig
    from retalkit_training.tasks.reading import read_config

    if (data is None) == (person is None):
        raise ConfigError("specify either --data DATA or --person CLIP", code="missing-option")
    if person is None:
        options = read_config(name, config, overrides, preset)
    else:
        from retalkit_training.tasks.person_data import person_defaults

        options = read_config(name, config, overrides, preset, person_defaults(name))
        if options.initial is None:
            raise ConfigError(
                "--person fine-tunes trained weights; add --from FILE or --from published", code="missing-option"
            )
        if output is None:
            raise ConfigError("--person requires --output RUN, where the clip is prepared", code="missing-option")
        if isinstance(options, GeneratorConfig):
            options.check_expert()
        if not person.is_file():
            raise InputError(missing(person, "no such file"), code="file-not-found")
    _check_output(output, dry_run=dry_run)
    _device(device)
    import torch
    from retalkit_training.datasets.check import check_sample
    from retalkit_training.loop.trainer import Trainer
    from retalkit_training.tasks.frozen_weights import StoredWeights
    from retalkit_training.tasks.required_weights import check_weights
    from retalkit_training.tasks.runs import open_run, run_lock
    from retalkit_training.tasks.tasks import make_task

    for warning in options.warnings() if not quiet else []:
        typer.echo(f"warning: {warning}", err=True)
    dataset = None if data is None else open_data(data)
    # Without coefficients, the dataset must be prepared again, which the task reports.
    if dataset is None or name != "dnet" or dataset.has_coefficients:
        check_weights(name, options, StoredWeights())
    if dataset is None:
        dataset = _open_person(person, output, options, device, quiet)
    task = make_task(options, dataset, StoredWeights())
    if data is not None and name != "dnet":
        check_sample(data)
    trainer = Trainer(task, device=device, folder=output)
    if dry_run:
        typer.echo(_cost(name, trainer.dry_run(_dry_run_reporter(trainer.process == 0 and not quiet)), options.steps))
        return
    assert output is not None
    with ExitStack() as stack:
        if trainer.process == 0:
            record = {"torch": torch.__version__, "processes": trainer.processes}
            existed = open_run(output, name, options, dataset, record)
            stack.enter_context(run_lock(output))
            if existed and not quiet:
                typer.echo(f"{output}: resuming")
        silent = quiet or trainer.process
        done = trainer.run(lambda progress: None if silent else _print_progress(progress, options.steps))
    if trainer.process == 0 and not quiet:
        typer.echo(f"{output}: {done} steps done")


def speech_to_mouth(
    data: LipsFolder = None,
    output: RunFolder = None,
    config: ConfigFile = None,
    only: Steps = None,
    preset: TinyPreset = None,
    overrides: Overrides = None,
    initial: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="Train the weights in FILE further, or the `published` weights."),
    ] = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    from retalkit_training.tasks.reading import read_options
    from retalkit_training.tasks.speech_to_mouth_config import TINY, SpeechToMouthConfig

    changes = [*(overrides or [])]
    if initial is not None:
        changes.append(f"fine_tuning.initial={initial}")
    if initial == "published":
        changes.append("live.initial=published")
    options = read_options(SpeechToMouthConfig, {"tiny": TINY}, config, changes, preset)
    _check_output(output, dry_run=dry_run)
    _device(device)

    from retalkit_training.speech_to_mouth.command import measure, train_speech_to_mouth

    if dry_run:
        for name, cost, steps in measure(options, data, device):
            typer.echo(_cost(name, cost, steps))
        return
    assert output is not None

    def report(name: str, progress: Progress, steps: int) -> None:
        _print_progress(progress, steps, f"{name}: ")

    train_speech_to_mouth(options, output, data, only or (), device, report, quiet=quiet)


def _check_output(output: Path | None, *, dry_run: bool) -> None:
    from retalkit.errors import ConfigError

    if output is None and not dry_run:
        raise ConfigError("--output RUN is required, except with --dry-run", code="missing-option")


def _dry_run_reporter(shown: bool) -> Callable[[str], None]:
    """Return a function that prints what a dry run does on stderr. A step can take a minute on a CPU."""
    return lambda text: typer.echo(f"dry run: {text}", err=True) if shown else None


def _speed(steps_per_second: float) -> str:
    """Format a rate as ``2.50 steps/s``, or as ``12.5 s/step`` below one step per second."""
    if steps_per_second >= 1:
        return f"{steps_per_second:.2f} steps/s"
    return f"{1 / steps_per_second:.1f} s/step" if steps_per_second > 0 else "0 steps/s"


def _cost(name: str, cost: Cost, steps: int) -> str:
    return (
        f"{name}: {_speed(cost.steps_per_second)}, {cost.memory / 2**30:.2f} GiB on {cost.device}, "
        f"{cost.parameters:,} trained parameters, {steps / cost.steps_per_second / 3600:.1f} hours for {steps:,} steps"
    )


def _print_progress(progress: Progress, steps: int, name: str = "") -> None:
    if not progress.values:
        return
    shown = {name: value for name, value in progress.values.items() if not name.endswith("learning_rate")}
    values = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
    typer.echo(f"{name}step {progress.step}/{steps}, {_speed(progress.steps_per_second)}: {values}")


def _open_person(clip: Path | None, run: Path | None, config: LoopConfig, device: str, quiet: bool) -> TrainingData:
    from retalkit.cli.progress import progress
    from retalkit_training.loop.distributed import process_state
    from retalkit_training.tasks.person_data import open_person

    assert clip is not None
    assert run is not None
    state = process_state(device)
    with progress(quiet=quiet) as observer:
        return open_person(clip, run, config, observer, main=state.is_main_process, wait=state.wait_for_everyone)


def open_data(folder: Path) -> TrainingData:
    """Return the dataset in a directory. Raises InputError."""
    from retalkit.errors import InputError
    from retalkit_training.tasks.prepared_data import PreparedData

    if not folder.is_dir():
        raise InputError(f"{folder}: no such directory", code="file-not-found")
    return PreparedData(folder)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of the run.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Output file, or directory for speech-to-mouth (default: in RUN)."
        ),
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="Export the best checkpoint instead of the newest.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite existing files.")] = False,
) -> None:
    """Write the trained network of RUN as a file with the published names, and a model card."""
    from retalkit_training.tasks.export import export_run
    from retalkit_training.tasks.runs import read_record

    if read_record(run)["trainer"] == SPEECH_TO_MOUTH:
        _export_speech_to_mouth(run, output, best=best, force=force)
        return
    done = export_run(run, output, best=best, force=force)
    typer.echo(f"{done.file}: step {done.step}; model card: {done.card}")
    typer.echo(f"safetensors: {done.arrays}")
    if done.importable:
        typer.echo(f"use it with: retalkit weights import {done.arrays} --as {done.importable}")
    else:
        typer.echo(
            f"`retalkit weights import` refuses it, because it does not have the published size: {done.difference}"
        )
    if read_record(run)["trainer"] in CHIN_TRAINERS:
        typer.echo(f"dub with: --set lip_syncer.chin={done.chin:g}, the face box of the training data")


def compare_sources(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="Video of a talking person.")],
    weights: Annotated[
        Path, typer.Option("--weights", metavar="FILE", help="D-Net: an exported file, or the published DNet.pt.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Output directory.")],
    template: Annotated[str, typer.Option(metavar="NAME", help="Expression template: smile or neutral.")] = "smile",
    frames: Annotated[str, typer.Option(metavar="N,N,...", help="Frames of the sheet.")] = "1,50,100,150",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Compare D-Net's faces from the first frame and from each frame of VIDEO: a sheet (PNG) and numbers (JSON)."""
    from retalkit.errors import ConfigError

    if template not in ("smile", "neutral"):
        raise ConfigError(f"--template: unknown template '{template}', expected smile or neutral", code="unknown-name")
    numbers = [each.strip() for each in frames.split(",")]
    if not all(each.isdigit() and int(each) for each in numbers):
        raise ConfigError(f"--frames: expected numbers from 1, such as 1,50,100, got {frames!r}", code="invalid-option")
    from retalkit.cli.progress import progress
    from retalkit_training.source_comparison import NUMBERS, SHEET
    from retalkit_training.source_comparison import compare_sources as run
    from retalkit_training.tasks.frozen_weights import StoredWeights

    with progress(quiet=quiet) as observer:

        def report(done: int, total: int) -> None:
            if done == 1:
                observer.started("faces", total)
            observer.advanced("faces", done)

        found = run(
            video,
            weights,
            output,
            StoredWeights(),
            template=template,
            frames=[int(each) for each in numbers],
            device=_device(device),
            report=report,
        )
    if quiet:
        return
    typer.echo(f"{output}: {SHEET}, {NUMBERS}")
    for name, values in found.measured.items():
        typer.echo(f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items()))


def _device(name: str) -> str:
    """Return the PyTorch device of ``--device``. Raises ConfigError."""
    from retalkit.errors import ConfigError

    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device: unknown device '{name}', expected auto, cpu or cuda", code="unknown-device")
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch finds no CUDA GPU on this machine", code="device-not-available")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def _export_speech_to_mouth(run: Path, output: Path | None, *, best: bool, force: bool) -> None:
    from retalkit.errors import ConfigError
    from retalkit_training.speech_to_mouth.command import export_weights

    if best:
        raise ConfigError(
            "--best: the weights of speech-to-mouth are calibrated for the last step; export them without --best",
            code="invalid-option",
        )
    for path in export_weights(run, output, force=force):
        typer.echo(f"{path}; model card: {path.with_suffix('.md')}")


def config(trainer: TrainerName, preset: PresetName = None, overrides: Overrides = None) -> None:
    """Print all options of TRAINER as a training file."""
    from retalkit.config.yaml_io import write
    from retalkit_training.tasks.reading import read_options

    model, presets = _options_model(trainer)
    typer.echo(write(read_options(model, presets, None, overrides or [], preset).model_dump(mode="json")), nl=False)


def schema(trainer: TrainerName) -> None:
    """Print the JSON Schema of TRAINER's training files."""
    import json

    model, presets = _options_model(trainer)
    found = model.model_json_schema()
    found["properties"] = {"preset": {"enum": sorted(presets)}, **found["properties"]}
    typer.echo(json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **found}, indent=2))


def _options_model(trainer: str) -> tuple[type[LossConfig], Mapping[str, Mapping[str, Any]]]:
    """Return the options model and the presets of a trainer. Raises ConfigError if the trainer is unknown."""
    from retalkit.errors import ConfigError
    from retalkit.plugins.registry import nearest
    from retalkit_training.tasks.config import CONFIGS, PRESETS

    if trainer not in TRAINERS:
        raise ConfigError(
            f"unknown trainer '{trainer}'{nearest(trainer, TRAINERS)}; trainers: {', '.join(TRAINERS)}",
            code="unknown-trainer",
        )
    if trainer == SPEECH_TO_MOUTH:
        from retalkit_training.tasks.speech_to_mouth_config import TINY, SpeechToMouthConfig

        return SpeechToMouthConfig, {"tiny": TINY}
    return CONFIGS[trainer], PRESETS[trainer]
