"""Command ``retalkit train speech-to-mouth``: runs, their cost, and the export of their weights."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from retalkit.errors import InputError, OutputError
from retalkit_training.loop.distributed import process_state
from retalkit_training.loop.trainer import DryRun
from retalkit_training.speech_to_mouth.dry_run import dry_run
from retalkit_training.speech_to_mouth.pipeline import check_prerequisites, check_steps, find_lips, run_steps
from retalkit_training.speech_to_mouth.session import LIVE, REAL, SYNTHETIC, Report, Session
from retalkit_training.tasks.runs import open_record
from retalkit_training.tasks.speech_to_mouth_config import SpeechToMouthConfig

_LOGGER = "retalkit_training.speech_to_mouth"


def train_speech_to_mouth(
    config: SpeechToMouthConfig,
    output: Path,
    lips: Path | None,
    only: Sequence[str],
    device: str,
    report: Report,
    *,
    quiet: bool = False,
) -> None:
    """Run the steps of the trainer in the directory ``output``. The same call resumes an interrupted run.

    ``lips``: directory of the corpus of real lips, or None for the default. ``only``: names of steps, or none for all.

    Raises:
        RetalkitError: an option, the corpus or the directory is unsuitable.
    """
    check_steps(only)
    state: Any = process_state(device)
    with _messages(quiet=quiet or state.process_index != 0):
        corpus = find_lips(lips, only)
        session = Session(config, output, device, _without_report if quiet else report)
        check_prerequisites(session, only, corpus)

        def open_folder() -> None:
            versions = {"torch": torch.__version__, "processes": state.num_processes}
            data = {"name": "synthetic speech" if corpus is None else corpus.folder.name, "key": ""}
            open_record(output, "speech-to-mouth", config.model_dump(mode="json"), data, versions)

        session.on_main_process(open_folder)
        run_steps(session, only, corpus)


def measure(config: SpeechToMouthConfig, lips: Path | None, device: str) -> list[tuple[str, DryRun, int]]:
    """Return the name, the cost and the number of steps of the training on synthetic speech and on real lips."""
    with _messages(quiet=True):
        costs = dry_run(config, find_lips(lips, ()), device)
    steps = {"synthetic": config.synthetic.steps, "real": config.fine_tuning.steps}
    return [(name, cost, steps[name]) for name, cost in costs.items()]


def export_weights(run: Path, output: Path | None, *, force: bool) -> list[Path]:
    """Copy the weights files and model cards of a run to the directory ``output``. Returns the weights files.

    ``output``: None for the directory ``weights`` of the run, which already contains them.

    Raises:
        InputError: the run has no finished weights.
        OutputError: a file exists, and ``force`` is false.
    """
    found = [path for name in (SYNTHETIC, REAL, LIVE) if (path := run / "weights" / name).is_file()]
    if not found:
        raise InputError(f"{run}: contains no finished weights; continue the run first", code="no-checkpoint")
    if output is None:
        return found
    files = [path for weights in found for path in (weights, weights.with_suffix(".md")) if path.is_file()]
    copies = {path: output / path.name for path in files}
    for target in copies.values():
        if target.exists() and not force:
            raise OutputError(f"{target}: exists; use --force to overwrite it", code="output-exists")
    output.mkdir(parents=True, exist_ok=True)
    for path, target in copies.items():
        partial = target.with_name(target.name + ".partial")
        shutil.copyfile(path, partial)
        partial.replace(target)
    return [copies[path] for path in found]


def _without_report(name: str, progress: object, steps: int) -> None:
    pass


@contextmanager
def _messages(*, quiet: bool) -> Generator[None]:
    """Context in which messages of the steps are printed, and only warnings if ``quiet`` is set."""
    logger = logging.getLogger(_LOGGER)
    handler = logging.StreamHandler(sys.stderr if quiet else sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    level = logger.level
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
