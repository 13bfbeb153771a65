"""Training loop with batches from worker processes, checkpoints and deterministic resumption.

All randomness of a batch depends only on the seed and the step number, and the checkpoint contains the random state for
dropout. A resumed run therefore produces the weights of an uninterrupted run.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit_renderers.speech_to_mouth.features import INPUT_CONTEXT
from retalkit_training.speech_to_mouth.augmentation import training_example
from retalkit_training.speech_to_mouth.corpus import Corpus
from retalkit_training.speech_to_mouth.corpus_synthesis import Shard
from retalkit_training.speech_to_mouth.losses import training_loss
from retalkit_training.speech_to_mouth.network import DILATIONS, SpeechToMouthNetwork
from retalkit_training.speech_to_mouth.non_speech import NonSpeechPool
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

logger = logging.getLogger(__name__)

Batch = tuple[NDArray[np.float16], NDArray[np.float16]]


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Training settings, excluding the corpus."""

    steps: int = 3400
    batch_size: int = 12
    seconds: float = 5.0
    """Duration of each example in seconds."""
    channels: int = 160
    dilations: tuple[int, ...] = DILATIONS
    lookahead_seconds: float | None = None
    dropout: float = 0.15
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up_steps: int = 50
    negative_share: float = 0.17
    averaging: float = 0.997
    """Decay of the weights' exponential moving average, which is validated and exported."""
    checkpoint_every: int = 100
    seed: int = 1
    producers: int = 1
    """Number of processes that create batches. The number does not affect the result."""
    threads: int = 1
    """Number of torch threads. The number affects rounding errors."""
    bfloat16: bool = True
    """Whether to compute convolutions in bfloat16, which is nearly twice as fast on CPUs with bfloat16 support and
    slower on other CPUs.
    """

    def ahead(self) -> int:
        """Return the look-ahead of the features' running mean in feature frames."""
        return INPUT_CONTEXT if self.lookahead_seconds is None else 0


def make_batch(config: TrainingConfig, corpus: Corpus, pool: NonSpeechPool, step: int) -> Batch:
    """Return the features [B, 160, 2 J] and targets [B, J, 6] of one step, as float16."""
    count = round(config.seconds * 50)
    features: list[NDArray[np.float32]] = []
    targets: list[NDArray[np.float32]] = []
    for item in range(config.batch_size):
        generator = np.random.default_rng([config.seed, step, item])
        example = training_example(generator, corpus, pool, count, config.negative_share, config.ahead())
        features.append(example.features.T)
        targets.append(example.targets)
    return np.stack(features).astype(np.float16), np.stack(targets).astype(np.float16)


def train(
    config: TrainingConfig, shards: list[Shard], pool_folder: Path, folder: Path, stop_after: int | None = None
) -> SpeechToMouthNetwork:
    """Train the network and return the moving average of its weights.

    Training resumes from ``folder/checkpoint.pt`` if the checkpoint exists. ``stop_after``: step after which to
    simulate an interruption. The moving average (Polyak and Juditsky, "Acceleration of stochastic approximation by
    averaging", 1992) depends less on the last batches than the weights themselves.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    network = SpeechToMouthNetwork(config.channels, config.dilations, config.lookahead_seconds, config.dropout)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _learning_rate(config, step))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.averaging), use_buffers=True)
    first = _resume(config, folder, network, average, optimiser, schedule)
    last = config.steps if stop_after is None else min(stop_after, config.steps)
    network.train()
    started = time.monotonic()
    sums: dict[str, float] = {}
    with _batches(config, shards, pool_folder, first, last) as batches:
        for step, (features, targets) in zip(range(first, last), batches, strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
                outputs = network(torch.from_numpy(features).float())
            loss, parts = training_loss(outputs, torch.from_numpy(targets).float())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            average.update_parameters(network)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value
            done = step + 1
            if done % 50 == 0 or done == last:
                _log_progress(done, config.steps, done - first, time.monotonic() - started, sums)
                sums = {}
            if done % config.checkpoint_every == 0 or done == config.steps:
                _save_checkpoint(config, folder, done, network, average, optimiser, schedule)
    averaged = average.module
    assert isinstance(averaged, SpeechToMouthNetwork)
    return averaged.eval()


def _learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate factor with linear warm-up and cosine decay."""
    warm_up = min(1.0, (step + 1) / max(1, config.warm_up_steps))
    return warm_up * (0.01 + 0.99 * 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, step / config.steps)))))


def _log_progress(done: int, steps: int, this_run: int, seconds: float, sums: dict[str, float]) -> None:
    count = (done - 1) % 50 + 1
    means = " ".join(f"{name} {value / min(count, this_run):.3f}" for name, value in sums.items())
    logger.info("step %d of %d, %.2f s per step: %s", done, steps, seconds / this_run, means)


def _save_checkpoint(
    config: TrainingConfig,
    folder: Path,
    step: int,
    network: nn.Module,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> None:
    state = {
        "step": step,
        "config": _comparable(config),
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
        "random": torch.get_rng_state(),
    }
    temporary = folder / f"checkpoint.{os.getpid()}.part"
    torch.save(state, temporary)
    temporary.replace(folder / "checkpoint.pt")


def _resume(
    config: TrainingConfig,
    folder: Path,
    network: nn.Module,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> int:
    path = folder / "checkpoint.pt"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state["config"] != _comparable(config):
        raise ValueError(
            f"{path} was written with a different configuration; use a different --work directory or delete the file"
        )
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["random"])
    logger.info("resuming training after step %d", state["step"])
    return int(state["step"])


def _comparable(config: TrainingConfig) -> dict[str, object]:
    """Return the settings that must match a checkpoint's settings.

    Parallelism and checkpoint frequency are excluded.
    """
    values = asdict(config)
    for name in ("producers", "threads", "checkpoint_every"):
        del values[name]
    return {**values, "dilations": list(config.dilations)}


@contextmanager
def _batches(
    config: TrainingConfig, shards: list[Shard], pool_folder: Path, first: int, last: int
) -> Iterator[Iterator[Batch]]:
    """Yield the batches of the steps [first, last) in order, prefetched by ``config.producers`` processes."""
    context = multiprocessing.get_context("spawn")
    queues: list[Queue[Batch]] = [context.Queue(6) for _ in range(config.producers)]
    processes = [
        context.Process(
            target=_produce,
            args=(config, shards, pool_folder, range(first + number, last, config.producers), queue),
            daemon=True,
        )
        for number, queue in enumerate(queues)
    ]
    for process in processes:
        process.start()
    try:
        yield (_next(queues[index % config.producers], processes) for index in range(last - first))
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _next(queue: Queue[Batch], processes: list[multiprocessing.process.BaseProcess]) -> Batch:
    while True:
        try:
            return queue.get(timeout=5.0)
        except Empty:
            if any(process.exitcode not in (None, 0) for process in processes):
                raise RuntimeError("a batch worker process died; see the worker's error message above") from None


def _produce(config: TrainingConfig, shards: list[Shard], pool_folder: Path, steps: range, queue: Queue[Batch]) -> None:
    corpus, pool = Corpus(shards), NonSpeechPool(pool_folder)
    for step in steps:
        queue.put(make_batch(config, corpus, pool, step))
    # Otherwise, the process could exit before the last batch is transferred.
    queue.close()
    queue.join_thread()
