"""Options of the training loop. The module does not import torch."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from retalkit_training.losses.config import LossConfig

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(LossConfig):
    """Options of one optimiser. The defaults are those of Wav2Lip, and the ones that the report states: Adam, 1e-4."""

    kind: Literal["adam", "adamw"] = "adam"
    """Optimiser. Wav2Lip, PIRender and the report: ``adam``. LatentSync: ``adamw``."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Learning rate. Wav2Lip, PIRender and the report: 1e-4."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay rates of Adam's moments. Wav2Lip: the defaults of torch for the expert, 0.5 and 0.999 for the generator and
    the discriminator (``hq_wav2lip_train.py``). PIRender: 0.5 and 0.999. The report does not state them."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay. 0 in all published trainers."""
    decay_every: int = Field(default=0, ge=0)
    """Number of steps after which the learning rate is multiplied by ``decay_factor``, repeatedly. 0: never.
    PIRender: 300,000."""
    decay_factor: float = Field(default=0.2, gt=0, le=1)
    """Factor of ``decay_every``. PIRender: 0.2."""

    warm_up_steps: int = Field(default=0, ge=0)
    """Number of first steps in which the learning rate rises linearly. 0 in all published trainers."""
    cosine: bool = False
    """Whether the learning rate falls to 1% until the last step, along half a cosine. The number of steps of such a run
    cannot be changed when it is resumed. No published trainer does so."""

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step. ``steps``: number of steps of the run."""
        decays = step // self.decay_every if self.decay_every else 0
        factor = min(1.0, (step + 1) / self.warm_up_steps) if self.warm_up_steps else 1.0
        if self.cosine:
            factor *= 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / steps)))
        return self.learning_rate * (self.decay_factor**decays * factor)


class LoopConfig(LossConfig):
    """Options that all trainers have."""

    steps: int = Field(default=100_000, ge=1)
    """Number of optimiser steps."""
    batch_size: int = Field(default=16, ge=1)
    """Number of samples of one optimiser step, over all processes and accumulated batches."""
    accumulation: int = Field(default=1, ge=1)
    """Number of batches whose gradients are added up before an optimiser step. ``batch_size`` must be a multiple of
    this number times the number of processes. Batch normalisation uses the statistics of each part."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """Precision of forward passes. ``bf16`` and ``fp16`` use autocast with float32 weights, and ``fp16`` requires a
    CUDA GPU and scales the loss. ``auto`` is ``bf16`` on devices that have instructions for bfloat16, and ``fp32`` on
    others. The published trainers use ``fp32``."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Maximum norm of all gradients of an optimiser step. The published trainers do not clip."""
    synchronised_batch_norm: bool = True
    """Whether batch normalisation and the minibatch deviation of E-Net's discriminator use the statistics of all
    processes, so that several processes train like one."""
    seed: int = Field(default=0, ge=0)
    """Seed of the initial weights, of the samples and of the noise."""
    initial: str | None = None
    """Weights from which training starts: ``published``, the checkpoint of this network in the store, or a file. None:
    random weights. Fine-tuning needs a low learning rate, such as 1e-5."""
    frozen: tuple[str, ...] = ()
    """Parts of the network that are not trained, as beginnings of parameter names, such as ``audio_encoder``. They stay
    in evaluation mode, so that their statistics do not change."""
    log_every: int = Field(default=10, ge=1)
    """Number of steps between rows of ``scalars.csv``. A row contains means over these steps."""
    evaluate_every: int = Field(default=1_000, ge=1)
    """Number of steps between evaluations on the validation speakers. Wav2Lip: 10,000 for the expert."""
    images_every: int = Field(default=1_000, ge=1)
    """Number of steps between image grids. PIRender: 1,000."""
    checkpoint_every: int = Field(default=1_000, ge=1)
    """Number of steps between checkpoints. A run that is killed resumes at the newest checkpoint."""
    keep_checkpoints: int = Field(default=3, ge=1)
    """Number of newest checkpoints that are kept. The best checkpoint is kept in addition."""
    tensorboard: bool = True
    """Whether scalars and image grids are also written for TensorBoard."""
    workers: int = Field(default=2, ge=0)
    """Number of threads per process that load samples. The samples do not depend on it."""

    def warnings(self) -> list[str]:
        """Return what a user should know about these options before a long training, one sentence each."""
        return []


LOGGING_FIELDS = frozenset(
    {
        "steps",
        "log_every",
        "evaluate_every",
        "images_every",
        "checkpoint_every",
        "keep_checkpoints",
        "tensorboard",
        "workers",
        "processes",
    }
)
"""Options that may change when a run is resumed, because they do not change the weights after a given step."""
