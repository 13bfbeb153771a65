"""Directory, options and device of one run of the trainer, and training of one of its networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from retalkit_renderers.speech_to_mouth.interface import ENCODER
from retalkit_training.loop.distributed import process_state
from retalkit_training.loop.task import Task
from retalkit_training.loop.trainer import Progress, Trainer
from retalkit_training.speech_to_mouth.corpus_synthesis import Shard, plan
from retalkit_training.speech_to_mouth.export import as_stored
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork
from retalkit_training.tasks.speech_to_mouth_config import SpeechToMouthConfig
from torch import nn

SYNTHETIC: Final = "speech_to_mouth.safetensors"
REAL: Final = "real_lips.safetensors"
LIVE: Final = "live.safetensors"
ENCODER_FILE: Final = ENCODER.name
"""File names of the weights that were trained on synthetic speech, on real lips, and on real lips with a bounded
look-ahead, and of the speech encoder."""

Report = Callable[[str, Progress, int], None]
"""Receives the name of the network, the progress, and the number of steps."""


def _silent(name: str, progress: Progress, steps: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the trainer.

    The directory contains the corpus (``corpus``), the prepared clips with real lips and the views (``lips``), a
    directory with checkpoints and scalars for each network (``synthetic``, ``real`` and ``live``), the calibrated
    networks of the cross-validation (``folds``), and the results (``weights``).
    """

    config: SpeechToMouthConfig
    folder: Path
    device: str = "auto"
    """``auto``, ``cpu`` or ``cuda``."""
    report: Report = _silent

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus"

    @property
    def lips(self) -> Path:
        return self.folder / "lips"

    @property
    def weights(self) -> Path:
        """Directory of the resulting weights."""
        return self.folder / "weights"

    @property
    def encoder(self) -> Path:
        """Speech encoder of the run if the step ``encoder`` trained one, otherwise the bundled one."""
        trained = self.weights / ENCODER_FILE
        return trained if trained.is_file() else ENCODER

    def shards(self) -> list[Shard]:
        """Return the planned shards of the corpus."""
        options = self.config.corpus
        return plan(self.corpus, options.hours, options.seed, options.flite_share, options.shard_minutes)

    def on_main_process(self, work: Callable[[], object]) -> None:
        """Call ``work`` in the first process, while the others wait."""
        state: Any = process_state(self.device)
        if state.process_index == 0:
            work()
        state.wait_for_everyone()

    def train(self, task: Task, name: str) -> SpeechToMouthNetwork:
        """Train or resume one network in the directory ``name`` of the run.

        Returns:
            The moving average on the CPU, with the precision of weights files, in evaluation mode.
        """
        network = self.train_module(task, name)
        assert isinstance(network, SpeechToMouthNetwork)
        return as_stored(network)

    def train_module(self, task: Task, name: str) -> nn.Module:
        """Train or resume the network ``network`` of ``task``, and return it on the CPU in evaluation mode."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(task, device=self.device, folder=folder)
        steps = task.config.steps
        trainer.run(lambda progress: self.report(name, progress, steps) if trainer.process == 0 else None)
        return trainer.evaluated_networks["network"].cpu().eval()
