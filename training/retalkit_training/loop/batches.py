"""Batches of each step, loaded ahead by threads.

Sample i of a run depends only on the seed and on i, so the position in the data is the step number. A resumed run,
and a run on another number of processes, use the same samples.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import numpy as np
import torch
from retalkit.errors import ConfigError
from retalkit_training.loop.config import LoopConfig
from retalkit_training.loop.task import Task
from torch import Tensor

_STREAM: Final = 1
"""Number that separates the samples' random numbers from others with the same seed."""


def part_size(config: LoopConfig, processes: int) -> int:
    """Return the number of samples of one forward pass.

    Raises:
        ConfigError: the batch cannot be divided.
    """
    parts = config.accumulation * processes
    if config.batch_size % parts:
        raise ConfigError(
            f"batch_size: {config.batch_size} samples cannot be divided into {parts} parts (accumulation "
            f"{config.accumulation} x {processes} processes)",
            code="invalid-batch-size",
        )
    return config.batch_size // parts


def load_batches(task: Task, step: int, process: int, processes: int) -> list[dict[str, Tensor]]:
    """Return the batches of one process for a step, one for each accumulated part."""
    config = task.config
    size = part_size(config, processes)
    batches: list[dict[str, Tensor]] = []
    for part in range(config.accumulation):
        first = step * config.batch_size + (part * processes + process) * size
        samples = [
            task.sample(np.random.default_rng([config.seed, _STREAM, index]), step)
            for index in range(first, first + size)
        ]
        batches.append({name: torch.from_numpy(np.stack([each[name] for each in samples])) for name in samples[0]})
    return batches


def batches_from(task: Task, start: int, process: int, processes: int) -> Iterator[list[dict[str, Tensor]]]:
    """Yield the batches of the steps from ``start`` to the last step."""
    config = task.config
    if config.workers == 0:
        for step in range(start, config.steps):
            yield load_batches(task, step, process, processes)
        return
    with ThreadPoolExecutor(config.workers) as pool:
        waiting: deque[Future[list[dict[str, Tensor]]]] = deque()
        following = start
        try:
            for _ in range(start, config.steps):
                while following < config.steps and len(waiting) < config.workers + 1:
                    waiting.append(pool.submit(load_batches, task, following, process, processes))
                    following += 1
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
