"""Tiny runs of the speech-to-mouth trainer, and interruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retalkit_training.loop.trainer import Progress
from retalkit_training.speech_to_mouth.session import Session
from retalkit_training.tasks.reading import read_options
from retalkit_training.tasks.speech_to_mouth_config import TINY, SpeechToMouthConfig

WITHOUT_TENSORBOARD = ("synthetic.tensorboard=false", "fine_tuning.tensorboard=false", "live.tensorboard=false")


def tiny_config(*overrides: str) -> SpeechToMouthConfig:
    """Return the preset ``tiny`` with less speech."""
    options = ("corpus.hours=0.015", "validation_crops=1", *WITHOUT_TENSORBOARD, *overrides)
    return read_options(SpeechToMouthConfig, {"tiny": TINY}, None, options, "tiny")


def session_with(corpus: Path, folder: Path, *overrides: str, **options: Any) -> Session:
    """Return a run in ``folder`` that shares the corpus of another run."""
    folder.mkdir(exist_ok=True)
    (folder / "corpus").symlink_to(corpus / "corpus")
    return Session(tiny_config(*overrides), folder, "cpu", **options)


class KilledError(Exception):
    """Interruption of a run."""


def kill_after(step: int) -> Any:
    """Return a report function that interrupts the run after a step."""

    def report(name: str, progress: Progress, steps: int) -> None:
        if progress.step == step:
            raise KilledError

    return report
