"""Construction of the trainers by name."""

from __future__ import annotations

from pathlib import Path

from retalkit_training.loop.config import LoopConfig
from retalkit_training.loop.data import TrainingData
from retalkit_training.loop.task import Task
from retalkit_training.loop.trainer import seed_all
from retalkit_training.tasks.config import DNetConfig, ENetConfig, LNetConfig, SyncNetConfig, Wav2LipConfig
from retalkit_training.tasks.export import PUBLISHED
from retalkit_training.tasks.frozen_weights import FrozenWeights, load_exactly


def make_task(config: LoopConfig, data: TrainingData, weights: FrozenWeights) -> Task:
    """Create the task of a configuration, with initial weights from ``config.initial`` or ``config.seed``.

    Raises:
        RetalkitError: the dataset is unsuitable, or weights are missing.
    """
    seed_all(config.seed, -1)
    task = _make(config, data, weights)
    if config.initial is None:
        return task
    published = PUBLISHED[task.name]
    if config.initial != "published":
        tensors = weights.file(Path(config.initial))
    else:
        tensors = weights.stored(published.checkpoint, "initial: published")
    load_exactly(task.networks[published.network], tensors, f"initial: {config.initial}")
    return task


def _make(config: LoopConfig, data: TrainingData, weights: FrozenWeights) -> Task:
    if isinstance(config, SyncNetConfig):
        from retalkit_training.tasks.syncnet import SyncNetTask

        return SyncNetTask(config, data)
    if isinstance(config, LNetConfig):
        from retalkit_training.tasks.lnet import LNetTask

        return LNetTask(config, data, weights)
    if isinstance(config, DNetConfig):
        from retalkit_training.tasks.dnet import DNetTask

        return DNetTask(config, data, weights)
    if isinstance(config, ENetConfig):
        from retalkit_training.tasks.enet import ENetTask

        return ENetTask(config, data, weights)
    if isinstance(config, Wav2LipConfig):
        from retalkit_training.tasks.wav2lip import Wav2LipTask

        return Wav2LipTask(config, data, weights)
    raise TypeError(f"no trainer for {type(config).__name__}")
